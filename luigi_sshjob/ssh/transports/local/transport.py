"""The local transport: sessions on this machine, for its own account, without SSH."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.ssh.local.runtime_dir import runtime_dir
from luigi_sshjob.ssh.transports.base import Process
from luigi_sshjob.ssh.transports.error_mapping import connection_lost, local_limit, tunnel_failed
from luigi_sshjob.ssh.transports.local.forwarder import forward
from luigi_sshjob.ssh.transports.local.session import LocalSession, home, login_argv, login_environment, login_shell
from luigi_sshjob.ssh.transports.login_info import LoginInfo
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter
from luigi_sshjob.ssh.transports.session_process import spawn

_UMASK = 0o022  # of a login, unless the profile sets another


class LocalTransport:
    """Access to this machine; see `Transport`."""

    shared = True

    def __init__(self, destination: Destination, settings: Settings):
        if destination.username or destination.port or destination.key_file or destination.password:
            raise ConfigurationError(
                "the transport local runs commands on this machine, as the account of this process",
                host=str(destination),
                next_step="leave out the account, port, key and password, or use the transport openssh",
            )
        self.destination = destination
        self.settings = settings
        self.directory = runtime_dir(settings.runtime_dir)
        self.key = destination.key("local", home())
        self.session_limiter = SessionLimiter(self.directory, self.key, settings.max_sessions)

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line of the account's shell."""
        return [login_shell(), "-c", " ".join(command)]

    def popen(
        self,
        command: Sequence[str],
        *,
        deadline: float | None = None,
        session_limiter: SessionLimiter | None = None,
        **kwargs: Any,
    ) -> LocalSession:
        """Start the account's login shell. Raises `HostUnreachable` if no session is free until `deadline`."""
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        # a session does not depend on the process that opens it
        kwargs |= {"env": login_environment(), "cwd": home() if os.path.isdir(home()) else "/"}
        kwargs |= {"executable": login_shell(), "umask": _UMASK, "start_new_session": True}
        with (session_limiter or self.session_limiter).slot(deadline=until, host=str(self.destination)) as slot:
            session = spawn(self.destination, LocalSession, login_argv(" ".join(command)), **kwargs)
        session.slot = slot
        return session

    @contextlib.contextmanager
    def forward_port(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[int]:
        """A thread of this process listens on the port while the block runs."""
        if local_port == remote_port and remote_host in ("localhost", "127.0.0.1"):
            # the service itself listens there
            yield local_port
            return
        with contextlib.ExitStack() as stack:
            try:
                port = stack.enter_context(forward(local_port, (remote_host, remote_port)))
            except OSError as error:
                forwarding = f"127.0.0.1:{local_port}:{remote_host}:{remote_port}"
                raise tunnel_failed(forwarding, str(error), self.destination) from error
            yield port

    def process_error(self, process: Process, stderr: str) -> SSHJobError | None:  # noqa: ARG002  # of the interface
        """There is no connection that could break."""
        return None

    def connection_error(self, process: Process, stderr: str) -> SSHJobError:  # noqa: ARG002  # of the interface
        """The error for a session that ended too early."""
        return local_limit(stderr, self.destination) or connection_lost(stderr, self.destination)

    def route(self) -> None:
        """There is no way to go."""

    def alive(self) -> bool:
        """Whether there is a connection: nothing is in between."""
        return True

    def connect(self) -> None:
        """Do nothing."""

    def connect_verbose(self) -> LoginInfo:
        """Do nothing."""
        return LoginInfo()

    @contextlib.contextmanager
    def private_copy(self) -> Iterator[LocalTransport]:
        """The same: sessions are separate anyway."""
        yield self

    def close(self) -> None:
        """Do nothing."""

    def close_if_unused(self) -> None:
        """Do nothing."""
