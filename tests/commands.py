"""The `luigi` command on the tasks of pipeline.py, as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import processes

TESTS = Path(__file__).parent


class Luigi(subprocess.Popen[bytes]):
    """Runs in a session of its own; all it says is in `log`. With `remote_jobs` it is `luigi-sshjob run`."""

    def __init__(self, log: Path, *arguments: str, remote_jobs: int | None = None):
        self.log = log
        program = ["luigi"] if remote_jobs is None else ["luigi_sshjob.cli", "run", "--remote-jobs", str(remote_jobs)]
        with log.open("wb") as out:
            super().__init__(
                [sys.executable, "-m", *program, "--module", "pipeline", *arguments, "--no-lock"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
                start_new_session=True,
            )

    def kill_all(self) -> None:
        """It and the processes of its tasks, at once."""
        processes.kill([member.pid for member in processes.family(self.pid)])
        self.wait()
