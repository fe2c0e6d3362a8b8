"""What a transport is to the rest of the package: sessions and tunnels on a host, by whatever SSH there is.

A transport logs in when it is first needed and never otherwise, holds a session of the gate for each of its
processes, and says of an end whether it was the command's own. Nothing else knows how the bytes travel.
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
    """A session as its starter sees it: what is used of `subprocess.Popen`.

    `returncode` is the command's exit status; 255 where the connection broke or a signal ended the login shell.
    Given pipes have descriptors that may be polled, read and written, and lent to other processes.
    """

    stdin: Any
    stdout: Any
    stderr: Any
    returncode: Any

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises `subprocess.TimeoutExpired` after `timeout` seconds."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """As Popen's."""

    def kill(self) -> None:
        """Ends the session from this side, at once."""


class Transport(Protocol):
    """How one destination is reached."""

    destination: Destination
    settings: Settings
    session_limiter: SessionLimiter
    directory: Path
    """Local sockets and locks."""
    key: str
    """Names there what belongs to this destination by this transport."""
    shared: bool
    """Whether the sessions of other processes of this account are on the same connection."""

    def popen(self, command: Sequence[str], *, deadline: float | None = None, **kwargs: Any) -> Process:
        """Starts `command` (shell text for the login shell) in a session, as `subprocess.Popen` would.

        Waits for a free session until `deadline` (`time.monotonic()`; default: request_timeout from now).
        Standard input is /dev/null unless the caller says otherwise. Raises a `ConnectionFailed`, see its kinds;
        `SessionRefused` may also come later, from `failure` or `lost`.
        """

    def argv(self, command: Sequence[str]) -> list[str]:
        """A local command line that does the same. Raises `ConfigurationError` where there is none."""

    def forwarded(self, local_port: int, remote_host: str, remote_port: int) -> AbstractContextManager[int]:
        """While the block runs, 127.0.0.1:`local_port` (0: a free one, which the block is told) leads there.

        No session. Raises `ConnectionFailed` where it cannot.
        """

    def failure(self, process: Process, said: str) -> SSHJobError | None:
        """The error for a process that has ended having `said` that, or None where its end is its command's own."""

    def lost(self, said: str) -> SSHJobError:
        """The error for a session that ended before its time, from what was said on its standard error."""

    def route(self) -> Route:
        """Where it leads; needs no connection. Raises `ConfigurationError`."""

    def connect(self) -> None:
        """Logs in unless it is connected. Raises as `popen` where it cannot."""

    def arrive(self) -> LoginInfo:
        """As `connect`; what there is to tell of the login, where this has made one."""

    def apart(self) -> AbstractContextManager[Transport]:
        """The same destination by a login of its own that nobody shares, and that ends with the block.

        Raises `ConfigurationError` where we are not to log in.
        """

    def close(self) -> None:
        """Ends the connection; running jobs are not touched."""

    def release(self) -> None:
        """This process needs nothing for now: what it holds alone and does not use may end."""
