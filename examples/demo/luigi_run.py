"""One run of the pipeline, watched through `luigi-sshjob ls --json`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

from command import Command
from interrupts import check, wait_until
from place import Place

Jobs = list[dict[str, Any]]

_FRAMES = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)+", re.MULTILINE)


class LuigiRun:
    """A process of Luigi whose output goes to its log, until the end of the `with` block."""

    def __init__(self, place: Place, options: list[str]):
        self._place = place
        self._log_begin = place.log.stat().st_size if place.log.exists() else 0
        with place.log.open("ab") as log:
            self._command = Command(place, place.run(options), log, log)

    def __enter__(self) -> LuigiRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def kill_command(self) -> list[str]:
        """What a person types to do the same as `kill`."""
        return ["kill", "-9", f"-{self._command.pid}"]

    def kill(self) -> None:
        """End it with all its processes, at once."""
        self._command.kill()

    def watch(self, show: Callable[[Jobs], None], until: Callable[[Jobs], bool] = lambda _: False) -> int | None:
        """Show the jobs until Luigi ends; return its exit status, or None if the condition became true before."""
        while not self._command.ended():
            jobs = list_jobs(self._place, unless=self._command.ended)
            show(jobs)
            if until(jobs) and not self._command.ended():
                return None
        check()
        show(list_jobs(self._place))
        return self._command.exit_status()

    def log_text(self) -> str:
        """The log of this run."""
        return self._place.log.read_bytes()[self._log_begin :].decode(errors="replace")

    def attached(self) -> list[str]:
        """The jobs that it has found on the host, instead of submitting them."""
        return re.findall(r": attached to (\S+) on ", self.log_text())

    def problems(self, limit: int = 30) -> str:
        """The last lines that say why it failed."""
        log = _FRAMES.sub("", self.log_text().partition("\n===== Luigi Execution Summary")[0])
        lines = log.splitlines()
        chosen = [line for line in lines if not line.startswith(("DEBUG:", "INFO:"))] or lines
        return "\n".join(chosen[-limit:])


def list_jobs(place: Place, unless: Callable[[], bool] = lambda: False) -> Jobs:
    """Return the jobs on the host; none if it does not respond, or if the condition becomes true before."""
    # a pipe would block when it is full
    with tempfile.TemporaryFile() as output, open(os.devnull, "wb") as errors:
        with Command(place, place.ls("--json"), output, errors) as ls:
            wait_until(lambda: ls.ended() or unless())
        if ls.exit_status() != 0:
            return []
        output.seek(0)
        jobs: Jobs = json.load(output)
        return jobs
