"""A multiplexed ssh client: a local process that uses one session of the connection."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any

from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.transports.login_log import strip_debug


class MuxClient(subprocess.Popen[Any]):
    """Holds its slot until its end was observed, or this object is deleted."""

    slot: FileLock | None = None
    master: object = None
    """Identity of the master that opened the session."""
    log_path: Path | None = None
    """Where ssh writes its own messages, at LogLevel DEBUG2; the file is the slot's, and removed with that."""
    _log = b""

    @property
    def has_exit_status(self) -> bool:
        """Whether `returncode` came from the host."""
        return b"debug2: Received exit status from master" in self._log

    @property
    def words(self) -> str:
        """Messages of ssh, not of the command."""
        self._read_log()
        return strip_debug(self._log.decode("utf-8", "replace"))

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
            self._read_log()
            if self.log_path:
                self.log_path.unlink(missing_ok=True)
                self.log_path = None
            self.slot.release(remove=True)
            self.slot = None

    def _read_log(self) -> None:
        if self.log_path:
            # not created yet, or the runtime directory was removed
            with contextlib.suppress(FileNotFoundError):
                self._log = self.log_path.read_bytes()
