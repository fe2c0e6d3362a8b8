"""The OpenSSH transport: sessions and forwarded ports of a shared ControlMaster connection.

Nothing but the master's `connect` ever logs in. Left alone, a client whose master is gone or has no session
left makes a login of its own and says next to nothing about it; CLIENT_OPTIONS take that way out from under it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from luigi_sshjob.config import sshjob
from luigi_sshjob.errors import ConnectionLost, SSHJobError
from luigi_sshjob.ssh.destination import Destination
from luigi_sshjob.ssh.gate import SessionGate
from luigi_sshjob.ssh.master import CLIENT_OPTIONS, ControlMaster, spawn
from luigi_sshjob.ssh.messages import translate

# What a multiplexed client says of itself when it had no session.
_CLIENT_FAILED = re.compile(r"mux_client_request_session|Control socket connect|Connection closed by UNKNOWN")


class OpenSSH:
    """How one destination is reached."""

    def __init__(self, destination: Destination, settings: sshjob):
        self.destination = destination
        self.settings = settings
        self.master = ControlMaster(destination, settings)
        self.gate = SessionGate(self.master.directory, self.master.key, settings.max_sessions)

    def client_argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` over the master, or fails; it cannot log in."""
        options = ["-t"] if self.destination.tty else ["-T"]
        return [
            *self.master.ssh_argv(),
            *CLIENT_OPTIONS,
            "-o",
            "ClearAllForwardings=yes",
            *options,
            self.destination.reference,
            *command,
        ]

    def popen(self, command: Sequence[str], *, deadline: float | None = None, **kwargs: Any) -> subprocess.Popen[Any]:
        """Starts `command` (shell text for the login shell) in a session of the shared connection.

        Waits for a free session until `deadline` (`time.monotonic()`; default: request_timeout from now);
        raises `HostUnreachable` when there was none. Standard input is /dev/null unless the caller says
        otherwise: an ssh that reads the terminal in the background is stopped (spotify/luigi#2349).
        """
        self.master.connect()
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        slot = self.gate.acquire(deadline=until, host=str(self.destination))
        try:
            return spawn(self.destination, self.client_argv(command), inherit=slot.fileno(), **kwargs)
        finally:
            slot.release()

    def forward(self, local_port: int, remote_host: str, remote_port: int) -> None:
        """Lets the master listen on 127.0.0.1:`local_port`; no login, no session."""
        self.master.connect()
        self.master.control("forward", f"127.0.0.1:{local_port}:{remote_host}:{remote_port}")

    def cancel_forward(self, local_port: int, remote_host: str, remote_port: int) -> None:
        """Ends what `forward` began; nothing to do where the connection is gone."""
        if self.master.alive():
            self.master.control("cancel", f"127.0.0.1:{local_port}:{remote_host}:{remote_port}")

    def close(self) -> None:
        """Ends the shared connection, for every process; running jobs are not touched."""
        self.master.close()

    def failure(self, status: int, said: str) -> SSHJobError | None:
        """The error for a client that ended with `status`, or None where that is its command's own."""
        if status != 255 or (self.master.alive() and not _CLIENT_FAILED.search(said)):
            return None
        return self.lost(said)

    def lost(self, said: str) -> SSHJobError:
        """The error for a session that ended before its time, from what its client printed."""
        if said.strip() and self.master.alive():
            return translate(said, self.destination)
        return ConnectionLost(
            f"the connection broke{': ' + said.strip() if said.strip() else ''}",
            host=str(self.destination),
            next_step="nothing: it is made again when it is next needed",
        )
