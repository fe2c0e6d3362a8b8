"""Tasks that the tests run with the `luigi` command."""

from __future__ import annotations

import time
from pathlib import Path

import luigi
import luigi.contrib.ssh
from luigi.parameter import ParameterVisibility

from luigi_sshjob import RemoteJobTask

BURST = 200_000  # bytes


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
    """Reports progress and waits for a file `go`; writes a line to a ledger each time it runs."""

    host = luigi.Parameter()
    folder = luigi.Parameter()

    def command(self):
        return f"""
            cd {self.folder}
            echo run >>ledger
            echo working on it
            echo "40 aligning reads" >"$SSHJOB_PROGRESS"
            while [ -d {self.folder} ] && ! [ -e go ]; do sleep 0.1; done
            echo let go
        """


class Align(RemoteJobTask):
    """A job for luigid's page, whose log begins with the content of a file."""

    host = luigi.Parameter()
    sample = luigi.Parameter(default="NA12878")
    folder = luigi.Parameter(visibility=ParameterVisibility.PRIVATE)

    def command(self):
        return f"""
            echo '40 aligning reads' >"$SSHJOB_PROGRESS"
            cat {self.folder}/hostile
            while [ -d {self.folder} ] && ! [ -e {self.folder}/go ]; do sleep 0.1; done
            echo 'reference GRCh38, 25 sequences'
            for part in 1 2 3 4 5 6; do echo "part $part of 10: 5000000 reads, 97.$part % mapped"; done
            printf 'part 7 of 10: '
            echo '60 aligning reads' >"$SSHJOB_PROGRESS"
            sleep 100
        """


class Failing(RemoteJobTask):
    host = luigi.Parameter()

    def command(self):
        return "echo first line\necho 'the reason is this' >&2\nexit 7"


class Restless(RemoteJobTask):
    """A job of the chaos test: a line in the ledger, then a log that grows in pieces and ends with a burst."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter()
    pieces = luigi.IntParameter()

    def command(self):
        return f"""
            echo {self.number} >>{self.folder}/ledger
            piece=0
            while [ $piece -lt {self.pieces} ]; do
              echo "$piece of job {self.number}"
              piece=$((piece + 1))
              sleep 0.3
            done
            yes {self.number} | head -c {BURST}
            # also on a full disk
            exit 0
        """

    def log(self) -> bytes:
        """Return the complete expected log."""
        lines = "".join(f"{piece} of job {self.number}\n" for piece in range(self.pieces))
        line = f"{self.number}\n"
        return (lines + (line * (BURST // len(line) + 1))[:BURST]).encode()


class Restlessness(luigi.WrapperTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    numbers = luigi.ListParameter()
    """Pairs of job number and number of pieces."""

    def requires(self):
        return [Restless(self.host, self.folder, number, pieces) for number, pieces in self.numbers]


class Sharing(RemoteJobTask):
    """A job that notes in a ledger which GPUs it has, the number of its ticket, and three times.

    Those are when it came, as its supervisor has reserved space for its record then, when it starts, and when it ends.
    """

    host = luigi.Parameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter()
    gpus = luigi.IntParameter()
    # of an attempt that was lost, by a supervisor that was killed
    retry_count = 1000

    @property
    def slots(self):
        return {"gpu": self.gpus}

    def command(self):
        return f"""
            exec >>{self.folder}/ledger
            grant=$(readlink /proc/self/fd/8)
            came=$(date -r "$SSHJOB_DIR"/run/exit_record.* +%s.%N)
            echo "start $SSHJOB_ID $$ $(basename "$grant" .grant) $CUDA_VISIBLE_DEVICES $came $(date +%s.%N)"
            sleep 0.{self.number % 10}
            echo "end $SSHJOB_ID $$"
        """


class SharingAll(luigi.WrapperTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    numbers = luigi.ListParameter()
    """Pairs of a number and how many GPUs that job needs."""

    def requires(self):
        return [Sharing(self.host, self.folder, number, gpus) for number, gpus in self.numbers]


class Numbered:
    """The parameters of one of many tasks."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    number = luigi.IntParameter()
    seconds = luigi.IntParameter()


class Sleeper(Numbered, RemoteJobTask):
    """A silent job whose end is recorded locally. With 0 seconds it waits for a file `go`."""

    def command(self):
        until_released = f"while [ -d {self.folder} ] && ! [ -e go ]; do sleep 0.2; done"
        wait = f"sleep {self.seconds}" if self.seconds else until_released
        return f"cd {self.folder} && echo {self.number} >>ledger && {wait}"

    def on_success(self):
        Path(self.notes, str(self.number)).write_text(str(time.time()))


class Reader(Sleeper):
    """It needs a file, next to the directory of the notes, which all of them share."""

    def inputs(self):
        return Path(self.notes).with_name("input")

    def command(self):
        return f'test -s "$SSHJOB_INPUT" && {super().command()}'


class Chatty(Sleeper):
    """It writes the time to its log, twice a second."""

    def command(self):
        return f"for n in $(seq {2 * self.seconds}); do date '+said at %s.%N'; sleep 0.5; done"


class Nothing(Numbered, luigi.Task):
    """As many parameters as `Sleeper`, and no job."""

    done = False

    def complete(self):
        return self.done

    def run(self):
        self.done = True


class Sleepers(luigi.WrapperTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    count = luigi.IntParameter()
    seconds = luigi.IntParameter()

    def requires(self):
        return [Sleeper(self.host, self.folder, self.notes, number, self.seconds) for number in range(self.count)]


class ByHand(luigi.Task):
    """Polling with luigi.contrib.ssh: one login to start the job, and one per poll."""

    port = luigi.Parameter()
    key = luigi.Parameter()
    user = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    number = luigi.IntParameter()

    def context(self):
        return luigi.contrib.ssh.RemoteContext(
            "127.0.0.1", port=self.port, username=self.user, key_file=self.key, no_host_key_check=True
        )

    def run(self):
        done = f"{self.folder}/done-{self.number}"
        self.context().check_output(
            [f"nohup sh -c 'echo {self.number} >>{self.folder}/ledger; sleep 9; touch {done}'", ">/dev/null 2>&1 &"]
        )
        while True:
            time.sleep(1)
            try:
                self.context().check_output([f"test -e {done}"])
                break
            except luigi.contrib.ssh.RemoteCalledProcessError as error:
                if error.returncode != 1:
                    raise
        self.note()

    def note(self):
        Path(self.notes, str(self.number)).write_text(str(time.time()))

    def complete(self):
        return Path(self.notes, str(self.number)).exists()


class Blocking(ByHand):
    """One ssh command that lasts as long as the job."""

    def run(self):
        self.context().check_output([f"echo {self.number} >>{self.folder}/ledger; sleep 9"])
        self.note()


class Peers(luigi.WrapperTask):
    kind = luigi.Parameter()
    port = luigi.Parameter()
    key = luigi.Parameter()
    user = luigi.Parameter()
    folder = luigi.Parameter()
    notes = luigi.Parameter()
    count = luigi.IntParameter()

    def requires(self):
        kind = {"by hand": ByHand, "blocking": Blocking}[self.kind]
        return [kind(self.port, self.key, self.user, self.folder, self.notes, n) for n in range(self.count)]


class Local(luigi.ExternalTask):
    """A file on this machine."""

    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)
