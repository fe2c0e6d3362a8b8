"""Limits the sessions on one connection, for all processes of this account.

sshd refuses sessions above MaxSessions (10 by default), and a refused multiplexed client would log in again.
A slot is a locked file. The process that started a client holds it until the client has ended: the client
itself cannot, as ssh closes every inherited descriptor (closefrom(3) in its main).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.local.file_lock import FileLock, WaitLogger

_LEARNED_LIMIT_LIFETIME = 60.0  # seconds; the sessions that used up the server's limit may have ended since


class SessionLimiter:
    """At most `max_sessions` slots of the connection `key`, first come first served.

    The limit adapts to the server's after a refused session, unless `adaptive` is false.
    """

    def __init__(self, directory: Path, key: str, max_sessions: int, *, adaptive: bool = True):
        self._directory = directory
        self._key = key
        self._max_sessions = max_sessions
        self._adaptive = adaptive
        self._learned = directory / f"{key}.sessions"

    @property
    def limit(self) -> int:
        """The number of slots: for a minute after a refusal, the number that the server allowed."""
        try:
            if self._adaptive and time.time() - self._learned.stat().st_mtime < _LEARNED_LIMIT_LIFETIME:
                return max(1, min(self._max_sessions, int(self._learned.read_text())))
        except (OSError, ValueError):
            pass
        return self._max_sessions

    def acquire(self, *, deadline: float, host: str) -> FileLock:
        """A free slot; raises `HostUnreachable` if none is free until `deadline` (`time.monotonic()`)."""
        ticket = self._ticket()
        waiting = WaitLogger(lambda: f"{host}: waiting for one of {self.limit} sessions; all are in use")
        try:
            while True:
                if self._first() == ticket.path:
                    slot = self._free_slot()
                    if slot:
                        return slot
                if time.monotonic() > deadline:
                    break
                waiting()
                time.sleep(jitter(0.005, 0.03))
        finally:
            ticket.release(remove=True)
        raise HostUnreachable(
            f"all sessions on the shared connection stayed in use ({self.limit})",
            host=host,
            next_step="try again, or raise max_sessions in [sshjob] if the server's MaxSessions allows it",
        )

    @contextlib.contextmanager
    def slot(self, *, deadline: float, host: str) -> Iterator[FileLock]:
        """A slot, as `acquire`, for the session that the block opens; given back if the block raises."""
        slot = self.acquire(deadline=deadline, host=host)
        try:
            yield slot
        except BaseException:
            slot.release(remove=True)
            raise

    def learn_limit(self) -> None:
        """Take the number of slots in use as the server's limit; call it after the refused one was released."""
        self._learned.write_text(str(max(1, self.in_use())))

    def in_use(self) -> int:
        """The number of occupied slots."""
        return sum(not self._is_free(path) for path in self._slots(self._max_sessions))

    def has_waiters(self) -> bool:
        """Whether a process waits for a slot, so that holders of idle sessions should release theirs."""
        return self._first() is not None

    def sweep(self) -> None:
        """Remove the files of killed processes."""
        for path in [*self._slots(self._max_sessions), *self._tickets()]:
            self._is_free(path)

    def _ticket(self) -> FileLock:
        while True:
            # the monotonic clock is the same for all processes of this machine
            ticket = FileLock(self._directory / f"{self._key}.wait.{time.monotonic_ns():020d}.{os.getpid()}")
            # fails if another process has swept it before it was locked
            if ticket.try_acquire():
                return ticket

    def _first(self) -> Path | None:
        return next((path for path in self._tickets() if not self._is_free(path)), None)

    def _free_slot(self) -> FileLock | None:
        for path in self._slots(self.limit):
            slot = FileLock(path)
            if slot.try_acquire():
                return slot
        return None

    def _slots(self, count: int) -> list[Path]:
        return [self._directory / f"{self._key}.slot{number}" for number in range(count)]

    def _tickets(self) -> list[Path]:
        return sorted(self._directory.glob(f"{self._key}.wait.*"))

    @staticmethod
    def _is_free(path: Path) -> bool:
        """Whether no process holds the lock; then its file is removed."""
        if not path.exists():
            return True
        lock = FileLock(path)
        if not lock.try_acquire():
            return False
        lock.release(remove=True)
        return True
