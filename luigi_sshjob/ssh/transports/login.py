"""Coordinates the logins of all processes of this account: one at a time, as few as a single process would make."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import (
    ConnectionFailed,
    HostUnreachable,
    LocalResourceError,
    LoginMisconfigured,
    LoginNeeded,
    LoginRefused,
    SSHJobError,
)
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.local.file_lock import FileLock, WaitLogger
from luigi_sshjob.ssh.local.runtime_dir import private_opener

logger = logging.getLogger("luigi-interface")

_RETRIED = {"connection-dropped", "connection-refused", "proxy-failed"}
_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0
_KINDS = {kind.__name__: kind for kind in (LoginRefused, LoginNeeded)}
# Seconds without another attempt. Who has to log in by hand will do that, and then there is a connection.
_FINAL_FOR = {LoginRefused.__name__: 5.0, LoginNeeded.__name__: 3600.0}


class LoginCoordinator:
    """Serializes the logins of all processes that use the same `directory` and `key`."""

    def __init__(self, directory: Path, key: str, destination: Destination, settings: Settings):
        self._path = directory / f"{key}.lock"
        self.lock: FileLock | None = None
        """Held while this process logs in."""
        self._failures = LoginFailures(directory / f"{key}.failed", str(destination))
        self._destination = destination
        self._settings = settings

    @property
    def timeout(self) -> int:
        """Seconds for one login."""
        return self._destination.connect_timeout or self._settings.connect_timeout

    def by_hand(self, connected: Callable[[], bool], log_in: Callable[[], object]) -> None:
        """Call `log_in`, which talks to a person, unless `connected`; earlier failures do not matter.

        Raises the errors of `log_in`, and `HostUnreachable` if another process is logging in for too long.
        """
        with self._turn():
            if not connected():
                log_in()
                self._failures.clear()

    def ensure(self, connected: Callable[[], bool], log_in: Callable[[], object]) -> None:
        """Call `log_in` unless `connected`, while no other process does.

        Raises the errors of `log_in`: `LoginRefused`, `HostUnreachable` or `ConfigurationError`. If the login of
        another process failed while this one waited, its error is raised and no other attempt is made: some
        servers lock an account after a few failed logins.
        """
        since = time.time()
        with self._turn():
            if not connected():
                self._failures.wait_or_raise(since)
                self._try(log_in)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        lock = FileLock(self._path)
        timeout = (self.timeout + 2) * self._settings.connect_attempts + self._settings.request_timeout
        waiting = WaitLogger(lambda: f"{self._destination}: waiting for another process to log in")
        if not lock.acquire(deadline=time.monotonic() + timeout, waiting=waiting):
            raise HostUnreachable(
                "another process has been logging in for too long",
                host=str(self._destination),
                doing="logging in",
                next_step="end that process, or wait",
            )
        self.lock = lock
        try:
            yield
        finally:
            self.lock = None
            lock.release(remove=True)

    def _try(self, log_in: Callable[[], object]) -> None:
        for attempt in range(1, self._settings.connect_attempts + 1):
            try:
                log_in()
                self._failures.clear()
                return
            except ConnectionFailed as error:
                # sshd drops unauthenticated connections at random above MaxStartups; a moment later there
                # may be room. Slower failures are retried by the caller.
                last = attempt == self._settings.connect_attempts
                if not isinstance(error, HostUnreachable) or error.code not in _RETRIED or last:
                    self._failures.record(error)
                    raise
                time.sleep(jitter(0.5, 1.0) * attempt)


@dataclasses.dataclass(frozen=True)
class _Failure:
    kind: str
    problem: str
    next_step: str
    code: str
    count: int
    """Failed logins in a row."""


class LoginFailures:
    """The last failed login, in the file `path`, for all processes of this account."""

    def __init__(self, path: Path, host: str):
        self._path = path
        self._host = host

    def record(self, error: SSHJobError) -> None:
        """Store the error of one more failed login, unless only this process could not log in."""
        if isinstance(error, (LocalResourceError, LoginMisconfigured)):
            return
        last = self._read()
        count = last.count + 1 if last else 1
        failure = _Failure(type(error).__name__, error.problem, error.next_step, error.code, count)
        with open(self._path, "w", encoding="utf-8", opener=private_opener) as file:
            json.dump(dataclasses.asdict(failure), file)

    def clear(self) -> None:
        """Forget the failures after a successful login."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def wait_or_raise(self, since: float) -> None:
        """Wait before the next login, with a back-off that grows with the number of failures.

        Raises the last error instead if it is newer than `since` (`time.time()`), a login refused just before, or one
        that needs a person.
        """
        failure = self._read()
        if failure is None:
            return
        failed = self._path.stat().st_mtime
        age = time.time() - failed
        if age < 0:
            # the clock was set back: the pause would last until it has caught up
            return
        final_for = _FINAL_FOR.get(failure.kind, 0.0)
        # hundreds of tasks must not each make a login that the server counts as failed
        if failed >= since or age < final_for:
            raise _KINDS.get(failure.kind, HostUnreachable)(
                failure.problem, host=self._host, doing="logging in", next_step=failure.next_step, code=failure.code
            )
        pause = jitter(0.5, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failure.count) - age
        if pause > 0 and not final_for:
            text = "%s: %d logins have failed (%s); the next one in %.0f s"
            logger.info(text, self._host, failure.count, failure.problem, pause)
            time.sleep(pause)

    def _read(self) -> _Failure | None:
        try:
            return _Failure(**json.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
