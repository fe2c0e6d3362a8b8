"""A local process that uses one session."""

from __future__ import annotations

import subprocess
from typing import Any

from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.local.starting import AnyProcess, start
from luigi_sshjob.ssh.transports.error_mapping import program_missing

LocalProcess = subprocess.Popen[bytes]
"""The class for programs of this machine; the same one while a user's test replaces `subprocess.Popen`."""


class SessionProcess(subprocess.Popen[Any]):
    """Holds its slot until its end was observed, or this object is deleted."""

    slot: FileLock | None = None

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        super().poll()
        self._release_slot_at_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        try:
            super().wait(timeout)
        finally:
            self._release_slot_at_end()
        return self.returncode

    def _release_slot_at_end(self) -> None:
        if self.returncode is not None and self.slot:
            self._finish()
            self.slot.release(remove=True)
            self.slot = None

    def _finish(self) -> None:
        """Do what needs the slot, at the end of the process."""


def spawn(destination: Destination, kind: type[AnyProcess], argv: list[str], **kwargs: Any) -> AnyProcess:
    """Start a local process.

    Standard input is /dev/null unless it is given: an ssh that reads the terminal in the background is stopped
    (spotify/luigi#2349).
    """
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    with translate_os_errors(f"starting {argv[0]}", host=str(destination)):
        try:
            return start(kind, argv, **kwargs)
        except FileNotFoundError as error:
            raise program_missing(argv[0], str(destination)) from error
