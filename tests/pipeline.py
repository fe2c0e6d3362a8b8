"""Tasks that the tests run through the `luigi` command, as users do."""

from __future__ import annotations

import luigi

from luigi_sshjob import RemoteJobTask


class Count(RemoteJobTask):
    """The example of the README."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter(default=0)
    environment = {"LC_ALL": "C"}

    def command(self):
        return f'echo counting {self.number}\nsleep 1\nwc -w <"{self.folder}/text" >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{self.folder}/count-{self.number}")


class Sum(RemoteJobTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    count = luigi.IntParameter()

    def requires(self):
        return [Count(host=self.host, folder=self.folder, number=number) for number in range(self.count)]

    def command(self):
        files = " ".join(target.path for target in self.input())
        return f'cat {files} | awk "{{s+=\\$1}} END {{print s}}" >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{self.folder}/sum")


class Slow(RemoteJobTask):
    """Tells how far it is until it is let go; writes a line in a ledger each time it is really run."""

    host = luigi.Parameter()
    folder = luigi.Parameter()

    def command(self):
        return f"""
            cd {self.folder}
            echo run >>ledger
            echo working on it
            echo "40 aligning reads" >"$SSHJOB_PROGRESS"
            while ! [ -e go ]; do sleep 0.1; done
            echo let go
        """


class Failing(RemoteJobTask):
    host = luigi.Parameter()

    def command(self):
        return "echo first line\necho 'the reason is this' >&2\nexit 7"
