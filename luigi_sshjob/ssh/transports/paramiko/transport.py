"""The paramiko transport: sessions and tunnels of a connection that belongs to this process, by paramiko and sshtunnel.

Unlike a ControlMaster it is not shared with other processes. Most of their requests go through the leader, whose one
shell serves all; a process that transfers files in bulk or opens a tunnel logs in separately.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import paramiko

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, ConnectionLost, SSHJobError
from luigi_sshjob.ssh.local.runtime_dir import runtime_dir
from luigi_sshjob.ssh.transports.base import Process
from luigi_sshjob.ssh.transports.error_mapping import connection_lost
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route, known_hosts_name
from luigi_sshjob.ssh.transports.paramiko.channel_process import ChannelProcess
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection
from luigi_sshjob.ssh.transports.paramiko.host_config import config_text, load_host_config
from luigi_sshjob.ssh.transports.paramiko.login import log_in
from luigi_sshjob.ssh.transports.paramiko.pipes import Streams
from luigi_sshjob.ssh.transports.paramiko.tunnel import tunnel
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter

_CLOSE_TIMEOUT = 1.0  # seconds


class ParamikoTransport:
    """Access to one destination without an ssh program; see `Transport`."""

    shared = False

    def __init__(self, destination: Destination, settings: Settings):
        if settings.existing_master == "require":
            raise ConfigurationError(
                "existing_master is require, but paramiko cannot use an ssh master",
                host=str(destination),
                next_step="use the transport openssh for this host",
            )
        self.destination = destination
        self.settings = settings
        self.directory = runtime_dir(settings.runtime_dir)
        self.key = destination.key("paramiko", config_text(settings, destination))
        self.session_limiter = SessionLimiter(self.directory, self.key, settings.max_sessions)
        self._logins = LoginCoordinator(self.directory, self.key, destination, settings)
        self._connection: ParamikoConnection | None = None
        self._lock = threading.Lock()
        _all.add(self)

    def popen(
        self,
        command: Sequence[str],
        *,
        deadline: float | None = None,
        session_limiter: SessionLimiter | None = None,
        **kwargs: Any,
    ) -> ChannelProcess:
        """A session of this process's connection. Raises `SessionRefused` if the server has none left.

        `kwargs` are those of `Streams`.
        """
        streams = Streams(**kwargs)
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        self._connected()
        with (session_limiter or self.session_limiter).slot(deadline=until, host=str(self.destination)) as slot:
            connection, channel = self._open_session(until)
            return ChannelProcess(connection, channel, command, slot, streams, deadline=until, tty=self.destination.tty)

    def argv(self, command: Sequence[str]) -> list[str]:  # noqa: ARG002  # see Transport
        """There is no such command."""
        raise ConfigurationError(
            "the transport paramiko has no local command",
            host=str(self.destination),
            next_step="use Popen or check_output, or the transport openssh",
        )

    @contextlib.contextmanager
    def forward_port(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[int]:
        """A thread of this process listens on the port while the block runs."""
        connection = self._connected()
        remote = (remote_host, remote_port)
        with connection.in_use(), tunnel(connection, self.destination, local_port, remote) as port:
            yield port

    def process_error(self, process: Process, stderr: str) -> SSHJobError | None:
        """The error for a session whose connection broke."""
        broken = isinstance(process, ChannelProcess) and process.broken
        return self.connection_error(process, stderr) if broken else None

    def connection_error(self, process: Process, stderr: str) -> SSHJobError:  # noqa: ARG002  # of the interface
        """The error for a broken connection; a refused session is an error of `popen`."""
        return connection_lost(stderr, self.destination)

    def route(self) -> Route:
        """The address that paramiko would connect to."""
        config = load_host_config(self.destination, self.settings)
        through = "a ProxyCommand" if config.proxy_command else ""
        return Route(
            hostname=config.hostname,
            port=config.port,
            username=config.username,
            known_as=known_hosts_name(config.key_name, config.key_port),
            through=f"the jump host {','.join(config.jumps)}" if config.jumps else through,
        )

    def connect(self) -> None:
        """Log in unless this process has a connection."""
        self._connected()

    def connect_verbose(self) -> LoginInfo:
        """Log in unless this process has a connection."""
        alive, began = self.alive(), time.monotonic()
        return self._connected().login_info(None if alive else time.monotonic() - began)

    @contextlib.contextmanager
    def private_copy(self) -> Iterator[ParamikoTransport]:
        """A separate connection, whose sessions do not count among those of the first."""
        other = ParamikoTransport(self.destination, self.settings)
        other.session_limiter = SessionLimiter(
            self.directory, f"{self.key}.{secrets.token_hex(2)}-", self.settings.max_sessions
        )
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """End this process's connection, unless a thread is logging in; other processes keep theirs."""
        self._close(timeout=_CLOSE_TIMEOUT)

    def close_if_unused(self) -> None:
        """End the connection unless a session or tunnel is open, or a thread is about to open one."""
        self._close(timeout=0, unless_used=True)

    def detach_after_fork(self) -> None:
        """Drop a forked child's copy of the connection, without sending anything. Its threads run in the parent."""
        connection, self._connection = self._connection, None
        self._lock = threading.Lock()
        if connection:
            connection.detach_after_fork()

    def _close(self, *, timeout: float, unless_used: bool = False) -> None:
        # only a login holds the lock for long, perhaps until a person responds; the end of a process must not wait
        if not self._lock.acquire(timeout=timeout):
            return
        try:
            if self._connection and not (unless_used and self._connection.used):
                self._connection.close()
                self._connection = None
        finally:
            self._lock.release()

    def _open_session(self, deadline: float) -> tuple[ParamikoConnection, paramiko.Channel]:
        connection = self._connected()
        try:
            return connection, connection.session(deadline)
        except ConnectionLost:
            # it ended after the check; no request has been sent yet
            if connection.alive:
                raise
        connection = self._connected()
        return connection, connection.session(deadline)

    def _connected(self) -> ParamikoConnection:
        with self._lock:
            if not self.alive():
                self._logins.ensure(self.alive, self._log_in)
            assert self._connection is not None
            return self._connection

    def alive(self) -> bool:
        """Whether this process has a connection."""
        return self._connection is not None and self._connection.alive

    def _log_in(self) -> None:
        self._connection = log_in(self.destination, self.settings, self._logins.timeout)


_all: weakref.WeakSet[ParamikoTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_all):
        transport.detach_after_fork()


os.register_at_fork(after_in_child=_after_fork)
