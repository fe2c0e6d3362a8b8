"""Bounds the sessions on one connection, for all processes of this account.

sshd refuses sessions above MaxSessions (10 by default); a refused multiplexed client would log in anew.
A slot is a locked file. The process that started a client holds it until that client has ended: the client
itself cannot, as ssh closes every descriptor it was not started for (closefrom(3) in its main).
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.ssh.runtime import FileLock


class SessionGate:
    """`size` slots named after one connection in the runtime directory."""

    def __init__(self, directory: Path, key: str, size: int):
        self.size = size
        self._slots = [directory / f"{key}.slot{number}" for number in range(size)]
        self._waiters = directory / f"{key}.waiters"

    def acquire(self, *, deadline: float, host: str) -> FileLock:
        """A free slot; raises `HostUnreachable` when there was none until `deadline` (`time.monotonic()`)."""
        slot = self._try_all()
        if slot:
            return slot
        waiter = FileLock(self._waiters)
        # fails only while somebody asks whether anyone waits
        while not waiter.try_acquire(shared=True) and time.monotonic() < deadline:
            time.sleep(0.001)
        try:
            while time.monotonic() < deadline:
                slot = self._try_all()
                if slot:
                    return slot
                time.sleep(random.uniform(0.01, 0.05))
        finally:
            waiter.release()
        raise HostUnreachable(
            f"all {len(self._slots)} sessions on the shared connection stayed in use",
            host=host,
            next_step="try again, or raise max_sessions in [sshjob] if the server's MaxSessions allows it",
        )

    def contended(self) -> bool:
        """Whether somebody waits for a slot, so that whoever holds one idly should give it back."""
        if not self._waiters.exists():
            return False
        asked = FileLock(self._waiters)
        if asked.try_acquire():
            asked.release()
            return False
        return True

    def _try_all(self) -> FileLock | None:
        for path in random.sample(self._slots, len(self._slots)):
            slot = FileLock(path)
            if slot.try_acquire():
                return slot
        return None


class Client(subprocess.Popen[Any]):
    """A local process that occupies a slot until somebody has seen it end, or lets go of this object."""

    slot: FileLock | None = None

    def poll(self) -> int | None:
        """As Popen's."""
        super().poll()
        return self._settle()

    def wait(self, timeout: float | None = None) -> int:
        """As Popen's."""
        try:
            return super().wait(timeout)
        finally:
            self._settle()

    def _settle(self) -> int | None:
        if self.returncode is not None and self.slot:
            self.slot.release()
            self.slot = None
        return self.returncode
