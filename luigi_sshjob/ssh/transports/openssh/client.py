"""A multiplexed ssh client: a local process that uses one session of the connection."""

from __future__ import annotations

import subprocess
from typing import Any

from luigi_sshjob.ssh.local.file_lock import FileLock


class MuxClient(subprocess.Popen[Any]):
    """Holds its slot until its end was observed, or this object is deleted."""

    slot: FileLock | None = None
    master: object = None
    """Identity of the master that opened the session."""

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        super().poll()
        self._release_slot_at_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        try:
            return super().wait(timeout)
        finally:
            self._release_slot_at_end()

    def _release_slot_at_end(self) -> None:
        if self.returncode is not None and self.slot:
            self.slot.release(remove=True)
            self.slot = None
