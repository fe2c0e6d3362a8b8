"""A multiplexed ssh client: a local process that occupies one session of the connection."""

from __future__ import annotations

import subprocess
from typing import Any

from luigi_sshjob.ssh.local.file_lock import FileLock


class MuxClient(subprocess.Popen[Any]):
    """A local process that occupies a slot until somebody has seen it end, or lets go of this object."""

    slot: FileLock | None = None
    master: object = None
    """Identity of the master that it was given a session by."""

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
            self.slot.release(remove=True)
            self.slot = None
        return self.returncode
