"""The OpenSSH transport: sessions and forwarded ports of a shared ControlMaster connection.

Only the master's `connect` logs in. By default, a client whose master has ended or has no session left makes a
separate login with hardly a message; `client_argv` prevents that.
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
from luigi_sshjob.ssh.transports.error_mapping import client_error
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route, known_hosts_name
from luigi_sshjob.ssh.transports.openssh.client import MuxClient
from luigi_sshjob.ssh.transports.openssh.control_master import ControlMaster
from luigi_sshjob.ssh.transports.openssh.resolved_config import resolved_config
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter
from luigi_sshjob.ssh.transports.session_process import spawn


class OpenSSHTransport:
    """Access to one destination with the ssh of this machine; see `Transport`."""

    shared = True

    def __init__(self, destination: Destination, settings: Settings):
        if destination.password:
            raise ConfigurationError(
                "the transport openssh does not support a password function",
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
        """The command line that runs `command` over the master; connects first, as ssh then cannot log in."""
        self.master.connect()
        return self._client_argv(command)

    def _client_argv(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        return [
            *self.master.client_argv(log),
            "-t" if self.destination.tty else "-T",
            self.destination.reference,
            *command,
        ]

    def popen(
        self,
        command: Sequence[str],
        *,
        deadline: float | None = None,
        session_limiter: SessionLimiter | None = None,
        **kwargs: Any,
    ) -> MuxClient:
        """A client of the shared connection. Raises `HostUnreachable` if no session is free until `deadline`."""
        self.master.connect()
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        with (session_limiter or self.session_limiter).slot(deadline=until, host=str(self.destination)) as slot:
            master = self.master.identity()
            log = slot.path.with_name(f"{slot.path.name}.log")
            # that of a killed process, whose client may still write to it
            log.unlink(missing_ok=True)
            client = spawn(self.destination, MuxClient, self._client_argv(command, log), **kwargs)
        client.slot, client.master, client.log_path = slot, master, log
        return client

    @contextlib.contextmanager
    def forward_port(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[int]:
        """The master listens on the port while the block runs; needs no login, session or process."""
        local_port = local_port or _free_port()
        host = f"[{remote_host}]" if ":" in remote_host else remote_host
        forwarding = f"127.0.0.1:{local_port}:{host}:{remote_port}"
        self.master.connect()
        with self.master.keep_open():
            self.master.control("forward", forwarding)
            try:
                yield local_port
            finally:
                if self.master.alive():
                    self.master.control("cancel", forwarding)

    def route(self) -> Route:
        """The address that ssh would connect to (`ssh -G`)."""
        config = resolved_config(self.destination, self.settings)
        jump, proxy = config.get("proxyjump", "none"), config.get("proxycommand", "none")
        through = "" if proxy == "none" else "a ProxyCommand"
        hostname, port = config.get("hostname", self.destination.host), int(config.get("port", "22"))
        return Route(
            hostname=hostname,
            port=port,
            username=config.get("user", ""),
            # known_hosts has an alias without a port
            known_as=config.get("hostkeyalias") or known_hosts_name(hostname, port),
            through=through if jump == "none" else f"the jump host {jump}",
        )

    def alive(self) -> bool:
        """Whether there is a master."""
        return self.master.alive()

    def connect(self) -> None:
        """Log in unless there is a master."""
        self.master.connect()

    def connect_verbose(self) -> LoginInfo:
        """Log in unless there is a master."""
        return self.master.connect_verbose()

    @contextlib.contextmanager
    def private_copy(self) -> Iterator[OpenSSHTransport]:
        """A separate master, whose sessions do not count among those of the shared one."""
        if self.settings.existing_master == "require":
            raise ConfigurationError(
                "existing_master is require, so a separate login is not allowed",
                host=str(self.destination),
                next_step="none: the checks that need a separate login are skipped",
            )
        other = copy.copy(self)
        other.master = self.master.private_copy()
        other.session_limiter = SessionLimiter(
            self.directory, Path(other.master.control_path).name, self.settings.max_sessions
        )
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """End the shared connection, for all processes."""
        self.master.close()

    def close_if_unused(self) -> None:
        """Do nothing: the connection is shared, and ends by ControlPersist."""

    def process_error(self, process: Process, stderr: str) -> SSHJobError | None:
        """The error for an ended client, or None if its command has ended and its output is complete."""
        assert isinstance(process, MuxClient)
        # Also with an exit status: the master sends that to the client, and writes the output into the client's pipe
        # directly. If it dies while that pipe is full, status 0 comes with truncated output (OpenSSH 9.2).
        lives = process.master == self.master.identity() is not None
        ended = process.has_exit_status or process.signalled
        return None if lives and ended else self.connection_error(process, stderr)

    def connection_error(self, process: Process, stderr: str) -> SSHJobError:
        """The error for a session that ended too early."""
        assert isinstance(process, MuxClient)
        return client_error(process.words, stderr, self.destination)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
