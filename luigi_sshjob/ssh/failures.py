"""What all processes of this account remember of failed logins: together they try no more often than one would."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import time
from pathlib import Path

from luigi_sshjob.errors import HostUnreachable, LoginRefused, SSHJobError
from luigi_sshjob.ssh.runtime import private

logger = logging.getLogger("luigi-interface")

_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0
_REFUSED_FOR = 5.0  # a refused login is not tried again so soon


class Failures:
    """The note at `path` says what the last login failed with, and how many there were in a row."""

    def __init__(self, path: Path, host: str):
        self._path = path
        self._host = host

    def note(self, error: SSHJobError) -> None:
        """One more."""
        count = self._read()[3] + 1
        with open(self._path, "w", encoding="utf-8", opener=private) as note:
            json.dump([type(error).__name__, error.problem, error.next_step, count], note)

    def forget(self) -> None:
        """A login succeeded."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def heed(self, since: float) -> None:
        """Waits before the next login, the longer the more have failed; whoever has waited for another's since
        `since` (`time.time()`) fails with that one."""
        kind, problem, next_step, count = self._read()
        if not count:
            return
        failed = self._path.stat().st_mtime
        if failed > time.time():
            # the clock was set back: nobody is to wait until it has caught up
            return
        refused = kind == LoginRefused.__name__
        # accounts are locked for less than a login by each of two hundred tasks
        if failed >= since or (refused and time.time() - failed < _REFUSED_FOR):
            error = LoginRefused if refused else HostUnreachable
            raise error(problem, host=self._host, doing="logging in", next_step=next_step)
        pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**count) - (time.time() - failed)
        if pause > 0 and not refused:
            logger.info("%s: %d logins have failed (%s); the next one in %.0f s", self._host, count, problem, pause)
            time.sleep(pause)

    def _read(self) -> tuple[str, str, str, int]:
        try:
            kind, problem, next_step, count = json.loads(self._path.read_text("utf-8"))
            return str(kind), str(problem), str(next_step), int(count)
        except (OSError, ValueError, TypeError):
            return "", "", "", 0
