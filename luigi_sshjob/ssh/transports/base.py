"""The interface of a transport: sessions and tunnels on a host, with any SSH implementation.

A transport logs in when it is first used, occupies a slot of the session limiter for each of its processes, and
distinguishes the end of a command from a lost connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter


class Process(Protocol):
    """A session, with the part of `subprocess.Popen`'s interface that this package uses.

    `returncode` is the command's exit status; 255 if there is none, because the connection broke or a signal ended the
    login shell.
    Pipes have descriptors that can be polled, read, written and passed to other processes.
    """

    stdin: Any
    stdout: Any
    stderr: Any
    returncode: Any

    @property
    def has_exit_status(self) -> bool:
        """Whether the host has sent an exit status."""

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002  # Popen's
        """Send `input` and read both outputs to the end."""

    def kill(self) -> None:
        """End the session immediately from this side."""


class Transport(Protocol):
    """Access to one destination."""

    destination: Destination
    settings: Settings
    session_limiter: SessionLimiter
    directory: Path
    """The directory of local sockets and locks."""
    key: str
    """Prefix of the files in `directory` that belong to this destination and transport."""
    shared: bool
    """Whether other processes of this account use the same connection."""

    def popen(self, command: Sequence[str], *, deadline: float | None = None, **kwargs: Any) -> Process:
        """Start `command` (shell text for the login shell) in a session, like `subprocess.Popen`.

        Wait for a free session until `deadline` (`time.monotonic()`; default: request_timeout from now).
        Standard input is /dev/null unless it is given. Raises a subclass of `ConnectionFailed`;
        `SessionRefused` may also be the result of `process_error` or `connection_error` later.
        """

    def argv(self, command: Sequence[str]) -> list[str]:
        """The equivalent local command line. Raises `ConfigurationError` if the transport has no such command."""

    def forward_port(self, local_port: int, remote_host: str, remote_port: int) -> AbstractContextManager[int]:
        """Forward 127.0.0.1:`local_port` (0: a free port) while the block runs; yields the port.

        Uses no session. Raises `ConnectionFailed`.
        """

    def process_error(self, process: Process, stderr: str) -> SSHJobError | None:
        """The error for an ended process, or None if its command has ended, even without an exit status."""

    def connection_error(self, process: Process, stderr: str) -> SSHJobError:
        """The error for a session that ended too early, also from what its command wrote to stderr."""

    def alive(self) -> bool:
        """Whether there is a connection; makes none."""

    def connect(self) -> None:
        """Log in unless there is a connection. Raises the errors of `popen`."""

    def close(self) -> None:
        """End the connection; running jobs are not affected."""

    def close_if_unused(self) -> None:
        """End a connection that belongs to this process alone and has no session or tunnel."""


class DiagnosableTransport(Transport, Protocol):
    """What only the doctor needs."""

    def popen(
        self,
        command: Sequence[str],
        *,
        deadline: float | None = None,
        session_limiter: SessionLimiter | None = None,
        **kwargs: Any,
    ) -> Process:
        """`session_limiter` replaces that of the transport for this session."""

    def route(self) -> Route | None:
        """The address from the user's configuration, without a connection; None for this machine.

        Raises `ConfigurationError`.
        """

    def connect_verbose(self) -> LoginInfo:
        """Like `connect`; returns details of the login, if this call made one."""

    def private_copy(self) -> AbstractContextManager[DiagnosableTransport]:
        """The same destination over a separate login, which ends with the block.

        Raises `ConfigurationError` if logins are not allowed.
        """
