"""Tasks that fail, each for another reason."""

from __future__ import annotations

import luigi

from luigi_sshjob import RemoteJobTask, RemoteTarget

LONG_LOG = "for n in $(seq 40); do echo line $n; done; echo 'ValueError: no reads left' >&2; exit 7"


class Scripted(RemoteJobTask):
    host = luigi.Parameter()
    script = luigi.Parameter(default=LONG_LOG)

    def command(self):
        return self.script


class CallVariants(RemoteJobTask):
    """A job for the picture of luigid's page in docs/."""

    host = luigi.Parameter()
    sample = luigi.Parameter(default="NA12878")

    def command(self):
        return """
            for part in 1 2 3 4 5 6 7 8; do echo "chr$part: 5000000 reads, 97.$part % mapped"; done
            echo "ValueError: chr9 has no reads" >&2
            exit 1
        """


class Buggy(RemoteJobTask):
    """A bug in the user's code."""

    host = luigi.Parameter()

    def command(self):
        return f"echo {1 // 0}"


class Reading(RemoteJobTask):
    """An error of this package, raised in the user's code."""

    host = luigi.Parameter()

    def command(self):
        with RemoteTarget("/nonexistent/input", self.host).open() as lines:
            return f"echo {lines.read()}"


class Local(luigi.Task):
    """A task without a job."""

    def run(self):
        raise ValueError("no such sample\nsamples: a, b")


class Failures(luigi.WrapperTask):
    host = luigi.Parameter()
    scripts = luigi.ListParameter(default=())

    def requires(self):
        scripted = [Scripted(host=self.host, script=script) for script in self.scripts]
        return [Buggy(host=self.host), Reading(host=self.host), Local(), *scripted]
