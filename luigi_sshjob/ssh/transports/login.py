"""Logins on one host, for all processes of this account: one at a time, and no more than one would try alone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConnectionFailed, HostUnreachable, LoginRefused, SSHJobError
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.runtime_dir import private

logger = logging.getLogger("luigi-interface")

_RETRIED = {"connection-dropped", "connection-refused", "proxy-failed"}


class LoginCoordinator:
    """Lock and notes are named after `key` in `directory`; who has another key logs in on its own."""

    def __init__(self, directory: Path, key: str, destination: Destination, settings: Settings):
        self._path = directory / f"{key}.lock"
        self.lock: FileLock | None = None
        """Held by the one who makes a login, while he does."""
        self._failures = LoginFailures(directory / f"{key}.failed", str(destination))
        self._destination = destination
        self._settings = settings

    @property
    def timeout(self) -> int:
        """Seconds for one login."""
        return self._destination.connect_timeout or self._settings.connect_timeout

    def make(self, made: Callable[[], bool], log_in: Callable[[], object]) -> None:
        """Calls `log_in` unless it is `made`, alone of all that want to.

        Raises what `log_in` does: `LoginRefused`, `HostUnreachable` or `ConfigurationError`. Whoever waited while
        another's login failed gets that failure and does not try again by itself: accounts are locked for less.
        """
        since = time.time()
        lock = FileLock(self._path)
        if not lock.acquire(deadline=time.monotonic() + self._patience(), waiting=self._say_waiting()):
            raise HostUnreachable(
                "another process has been logging in for too long",
                host=str(self._destination),
                doing="logging in",
                next_step="end the process that holds it up, or wait",
            )
        try:
            if not made():
                self._failures.heed(since)
                self.lock = lock
                self._try(log_in)
        finally:
            self.lock = None
            lock.release(remove=True)

    def _try(self, log_in: Callable[[], object]) -> None:
        for attempt in range(1, self._settings.connect_attempts + 1):
            try:
                log_in()
                return self._failures.forget()
            except HostUnreachable as error:
                # sshd drops unauthenticated connections at random above MaxStartups; a moment later there
                # may be room. Anything slower than that is the caller's to wait for.
                if error.code not in _RETRIED or attempt == self._settings.connect_attempts:
                    self._failures.note(error)
                    raise
                time.sleep(jitter(0.5, 1.0) * attempt)
            except ConnectionFailed as error:
                self._failures.note(error)
                raise

    def _patience(self) -> float:
        return (self.timeout + 2) * self._settings.connect_attempts + self._settings.request_timeout

    def _say_waiting(self) -> Callable[[], None]:
        said_at = time.monotonic() + 5

        def waiting() -> None:
            nonlocal said_at
            if time.monotonic() > said_at:
                said_at += 30
                logger.info("%s: waiting for another process to log in", self._destination)

        return waiting


_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0
_REFUSED_FOR = 5.0  # a refused login is not tried again so soon


class LoginFailures:
    """The note at `path` says what the last login failed with, and how many there were in a row."""

    def __init__(self, path: Path, host: str):
        self._path = path
        self._host = host

    def note(self, error: SSHJobError) -> None:
        """One more."""
        count = self._read()[-1] + 1
        with open(self._path, "w", encoding="utf-8", opener=private) as note:
            json.dump([type(error).__name__, error.problem, error.next_step, error.code, count], note)

    def forget(self) -> None:
        """A login succeeded."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def heed(self, since: float) -> None:
        """Waits before the next login, the longer the more have failed; whoever has waited for another's since
        `since` (`time.time()`) fails with that one."""
        kind, problem, next_step, code, count = self._read()
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
            raise error(problem, host=self._host, doing="logging in", next_step=next_step, code=code)
        pause = jitter(0.5, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**count) - (time.time() - failed)
        if pause > 0 and not refused:
            logger.info("%s: %d logins have failed (%s); the next one in %.0f s", self._host, count, problem, pause)
            time.sleep(pause)

    def _read(self) -> tuple[str, str, str, str, int]:
        try:
            kind, problem, next_step, code, count = json.loads(self._path.read_text("utf-8"))
            return str(kind), str(problem), str(next_step), str(code), int(count)
        except (OSError, ValueError, TypeError):
            return "", "", "", "", 0
