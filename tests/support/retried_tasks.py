"""Tasks with retries, for the `luigi` command, which imports this module for them."""

from __future__ import annotations

import os

import luigi

from luigi_sshjob import Job, JobEvent, RemoteJobTask
from luigi_sshjob.errors import LoginNeeded
from luigi_sshjob.tasks import retries

# seconds, in place of ten
retries._FIRST_PAUSE = float(os.environ.get("SSHJOB_TEST_PAUSE", "0.2"))

# what a job does to be lost: its supervisor is killed, and then nothing of it is left
DIE = """kill -9 "$(sed -n 's/^pid: //p' "$SSHJOB_DIR/identity")"; exit"""


class Unlucky(RemoteJobTask):
    """Each attempt writes its number to a ledger; number N is lost if a file `die-N` exists, and ends if `go` does."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    retries = luigi.DictParameter(default={"lost": 1})

    def command(self):
        previous = self.previous
        # another command for each attempt
        said = f"after {previous.attempt}, {previous.cause}: {previous.reason}" if previous else "the first"
        return f"""
            cd {self.folder} || exit
            number="${{SSHJOB_ID##*/}}"
            echo "$number" >>ledger
            : '{said}'
            while [ -d {self.folder} ] && ! [ -e die-$number ] && ! [ -e go ]; do sleep 0.1; done
            [ ! -e die-$number ] || {{ {DIE}; }}
        """


class Reporting(Unlucky):
    """Keeps what its hooks and handlers were called with."""

    said: list[str] = []

    def on_lost(self, job: Job) -> None:
        self.said.append(f"on_lost {job.id.rpartition('/')[2]}")

    def on_login_needed(self, error: LoginNeeded) -> None:
        self.said.append(f"on_login_needed {error.host}")


def _noting(name: str):
    def handler(task: Reporting, job: Job) -> None:
        task.said.append(f"{name} {job.id.rpartition('/')[2]}")

    return handler


for _name in ("SUBMITTED", "LOST"):
    Reporting.event_handler(getattr(JobEvent, _name))(_noting(_name))
