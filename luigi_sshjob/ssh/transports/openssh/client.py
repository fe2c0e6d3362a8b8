"""A multiplexed ssh client: a local process that uses one session of the connection."""

from __future__ import annotations

import contextlib
from pathlib import Path

from luigi_sshjob.ssh.transports.login_log import strip_debug
from luigi_sshjob.ssh.transports.session_process import SessionProcess


class MuxClient(SessionProcess):
    """Can tell whether its exit status is that of the command."""

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
    def signalled(self) -> bool:
        """Whether the session has begun, and ended without an exit status."""
        opened = b"debug1: mux_client_request_session: master session id" in self._log
        return opened and self.returncode == 255 and b"debug2: Control master terminated unexpectedly" in self._log

    @property
    def words(self) -> str:
        """Messages of ssh, not of the command."""
        self._read_log()
        text = strip_debug(self._log.decode("utf-8", "replace"))
        # with the option tty, and no error
        return text.replace("Pseudo-terminal will not be allocated because stdin is not a terminal.", "").strip()

    def _finish(self) -> None:
        self._read_log()
        if self.log_path:
            self.log_path.unlink(missing_ok=True)
            self.log_path = None

    def _read_log(self) -> None:
        if self.log_path:
            # not created yet, or the runtime directory was removed
            with contextlib.suppress(FileNotFoundError):
                self._log = self.log_path.read_bytes()
