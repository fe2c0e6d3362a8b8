"""The OpenSSH transport: sessions and forwarded ports of a shared ControlMaster connection.

Nothing but the master's `connect` ever logs in. Left alone, a client whose master is gone or has no session
left makes a login of its own and says next to nothing about it; CLIENT_OPTIONS take that way out from under it.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.ssh.transports.base import Process
from luigi_sshjob.ssh.transports.error_mapping import client_error, client_failed
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route, known_as
from luigi_sshjob.ssh.transports.openssh.client import MuxClient
from luigi_sshjob.ssh.transports.openssh.command_line import CLIENT_OPTIONS, effective, spawn
from luigi_sshjob.ssh.transports.openssh.control_master import ControlMaster
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter


class OpenSSHTransport:
    """How one destination is reached by the ssh of this machine; see `Transport`."""

    shared = True

    def __init__(self, destination: Destination, settings: Settings):
        if destination.password:
            raise ConfigurationError(
                "ssh cannot be given a function for its password",
                host=str(destination),
                next_step="set sshpass, and SSHPASS in the environment, or use the transport paramiko",
            )
        self.destination = destination
        self.settings = settings
        self.master = ControlMaster(destination, settings)
        self.directory = self.master.directory
        self.key = self.master.key
        self.session_limiter = SessionLimiter(self.directory, self.key, settings.max_sessions)

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` over the master, which is there then; it cannot log in itself."""
        self.master.connect()
        return self._client_argv(command)

    def _client_argv(self, command: Sequence[str]) -> list[str]:
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

    def popen(self, command: Sequence[str], *, deadline: float | None = None, **kwargs: Any) -> MuxClient:
        """A client of the shared connection. Raises `HostUnreachable` when there was no session in time."""
        self.master.connect()
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        slot = self.session_limiter.acquire(deadline=until, host=str(self.destination))
        master = self.master.identity()
        try:
            client = spawn(self.destination, MuxClient, self._client_argv(command), **kwargs)
        except BaseException:
            slot.release(remove=True)
            raise
        client.slot, client.master = slot, master
        return client

    @contextlib.contextmanager
    def forwarded(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[int]:
        """While the block runs, the master listens on the port; no login, no session, no process."""
        local_port = local_port or _free_port()
        there = f"[{remote_host}]" if ":" in remote_host else remote_host
        forwarding = f"127.0.0.1:{local_port}:{there}:{remote_port}"
        self.master.connect()
        with self.master.held():
            self.master.control("forward", forwarding)
            try:
                yield local_port
            finally:
                if self.master.alive():
                    self.master.control("cancel", forwarding)

    def route(self) -> Route:
        """Where ssh would connect to, by its own word (`ssh -G`)."""
        found = effective(self.destination, self.settings)
        jump, proxy = found.get("proxyjump", "none"), found.get("proxycommand", "none")
        through = "" if proxy == "none" else "a ProxyCommand"
        hostname, port = found.get("hostname", self.destination.host), int(found.get("port", "22"))
        return Route(
            hostname=hostname,
            port=port,
            username=found.get("user", ""),
            # an alias stands for the port too
            known_as=found.get("hostkeyalias") or known_as(hostname, port),
            through=through if jump == "none" else f"the jump host {jump}",
        )

    def connect(self) -> None:
        """Logs in unless somebody has."""
        self.master.connect()

    def arrive(self) -> LoginInfo:
        """Logs in unless there is a connection."""
        return self.master.arrive()

    @contextlib.contextmanager
    def apart(self) -> Iterator[OpenSSHTransport]:
        """A master of its own, whose sessions are not counted among those of the shared one."""
        if self.settings.existing_master == "require":
            raise ConfigurationError(
                "existing_master is require, so there is no login but yours",
                host=str(self.destination),
                next_step="nothing: what needs another login is left out",
            )
        other = copy.copy(self)
        other.master = self.master.apart()
        other.session_limiter = SessionLimiter(
            self.directory, Path(other.master.control_path).name, self.settings.max_sessions
        )
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """Ends the shared connection, for every process; running jobs are not touched."""
        self.master.close()

    def release(self) -> None:
        """Nothing: the connection is everybody's, and ends by ControlPersist."""

    def failure(self, process: Process, said: str) -> SSHJobError | None:
        """The error for a client that has ended, or None where its status is its command's and its output whole."""
        if process.returncode == 255 and client_failed(said):
            return self.lost(said)
        return None if self._whole(process) else self.lost(said)

    def _whole(self, client: Process) -> bool:
        """Whether all that the command of an ended client wrote has reached us.

        A client hears the exit status from its master, which writes the output itself, into the client's pipe: where
        it dies before the pipe has taken all, status 0 comes with an output that is cut short (OpenSSH 9.2).
        """
        return not isinstance(client, MuxClient) or client.master == self.master.identity() is not None

    def lost(self, said: str) -> SSHJobError:
        """The error for a session that ended before its time, from what its client printed."""
        return client_error(said, self.destination)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
