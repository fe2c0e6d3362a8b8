"""The OpenSSH transport: sessions and forwarded ports of a shared ControlMaster connection.

Nothing but the master's `connect` ever logs in. Left alone, a client whose master is gone or has no session
left makes a login of its own and says next to nothing about it; CLIENT_OPTIONS take that way out from under it.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

from luigi_sshjob.config import sshjob
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.ssh.command import CLIENT_OPTIONS, spawn
from luigi_sshjob.ssh.destination import Destination
from luigi_sshjob.ssh.gate import Client, SessionGate
from luigi_sshjob.ssh.master import ControlMaster
from luigi_sshjob.ssh.messages import client_error, client_failed


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
        master = self.master.identity()
        try:
            client = spawn(self.destination, Client, self.client_argv(command), **kwargs)
        except BaseException:
            slot.release(remove=True)
            raise
        client.slot, client.master = slot, master
        return client

    def whole(self, client: subprocess.Popen[Any]) -> bool:
        """Whether all that the command of an ended client wrote has reached us.

        A client hears the exit status from its master, which writes the output itself, into the client's pipe: where
        it dies before the pipe has taken all, status 0 comes with an output that is cut short (OpenSSH 9.2).
        """
        return not isinstance(client, Client) or client.master == self.master.identity() is not None

    @contextlib.contextmanager
    def forwarded(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[None]:
        """While the block runs, the master listens on 127.0.0.1:`local_port`; no login, no session.

        Raises `ConnectionFailed` where it cannot.
        """
        forwarding = f"127.0.0.1:{local_port}:{remote_host}:{remote_port}"
        self.master.connect()
        with self.master.held():
            self.master.control("forward", forwarding)
            try:
                yield
            finally:
                if self.master.alive():
                    self.master.control("cancel", forwarding)

    def close(self) -> None:
        """Ends the shared connection, for every process; running jobs are not touched."""
        self.master.close()

    def failure(self, client: subprocess.Popen[Any], said: str) -> SSHJobError | None:
        """The error for a client that has ended, or None where its status is its command's and its output whole."""
        if client.returncode == 255 and client_failed(said):
            return self.lost(said)
        return None if self.whole(client) else self.lost(said)

    def lost(self, said: str) -> SSHJobError:
        """The error for a session that ended before its time, from what its client printed."""
        return client_error(said, self.destination)
