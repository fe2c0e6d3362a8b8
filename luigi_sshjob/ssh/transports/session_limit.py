"""Bounds the sessions on one connection, for all processes of this account.

sshd refuses sessions above MaxSessions (10 by default); a refused multiplexed client would log in anew.
A slot is a locked file. The process that started a client holds it until that client has ended: the client
itself cannot, as ssh closes every descriptor it was not started for (closefrom(3) in its main).
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.local.file_lock import FileLock

logger = logging.getLogger("luigi-interface")

_REMEMBERED = 60.0  # seconds; whose sessions were too many may have ended since


class SessionLimiter:
    """At most `most` slots named after one connection in the runtime directory, first come first served."""

    def __init__(self, directory: Path, key: str, most: int):
        self._directory = directory
        self._key = key
        self._most = most
        self._learnt = directory / f"{key}.sessions"

    @property
    def size(self) -> int:
        """How many slots there are: fewer for a while after the server has refused one of so many."""
        try:
            if time.time() - self._learnt.stat().st_mtime < _REMEMBERED:
                return max(1, min(self._most, int(self._learnt.read_text())))
        except (OSError, ValueError):
            pass
        return self._most

    def acquire(self, *, deadline: float, host: str) -> FileLock:
        """A free slot; raises `HostUnreachable` when there was none until `deadline` (`time.monotonic()`)."""
        ticket = self._ticket()
        say_at = time.monotonic() + 5
        try:
            while True:
                if self._first() == ticket.path:
                    slot = self._free_slot()
                    if slot:
                        return slot
                if time.monotonic() > deadline:
                    break
                if time.monotonic() > say_at:
                    say_at += 30
                    logger.info("%s: waiting for one of %d sessions; all are in use", host, self.size)
                time.sleep(jitter(0.005, 0.03))
        finally:
            ticket.release(remove=True)
        raise HostUnreachable(
            f"all sessions on the shared connection stayed in use ({self.size})",
            host=host,
            next_step="try again, or raise max_sessions in [sshjob] if the server's MaxSessions allows it",
        )

    def refused(self) -> None:
        """The server has refused a session, whose slot is free again: those in use were all that it allows."""
        self._learnt.write_text(str(max(1, self.in_use())))

    def in_use(self) -> int:
        """How many slots are somebody's."""
        return sum(not self._is_free(path) for path in self._slots(self._most))

    def has_waiters(self) -> bool:
        """Whether somebody waits for a slot, so that whoever holds one idly should give it back."""
        return self._first() is not None

    def sweep(self) -> None:
        """Removes the files that nobody holds: whoever was killed has left some."""
        for path in [*self._slots(self._most), *self._tickets()]:
            self._is_free(path)

    def _ticket(self) -> FileLock:
        while True:
            # a clock that all processes of this machine share
            ticket = FileLock(self._directory / f"{self._key}.wait.{time.monotonic_ns():020d}.{os.getpid()}")
            # fails where somebody has tidied it up before it was held
            if ticket.try_acquire():
                return ticket

    def _first(self) -> Path | None:
        return next((path for path in self._tickets() if not self._is_free(path)), None)

    def _free_slot(self) -> FileLock | None:
        for path in self._slots(self.size):
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
        """Whether nobody holds it; then it is gone."""
        if not path.exists():
            return True
        lock = FileLock(path)
        if not lock.try_acquire():
            return False
        lock.release(remove=True)
        return True
