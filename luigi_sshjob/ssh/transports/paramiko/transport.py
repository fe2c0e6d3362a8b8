"""Sessions and tunnels of a connection that this process alone holds, made by paramiko and sshtunnel.

Other processes do not share it, as they share a ControlMaster; most of what they want they ask of the leader, whose
one shell serves all. Whoever moves a file in bulk, or opens a tunnel, logs in itself.
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

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError, ConnectionLost, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.local.runtime_dir import runtime_dir
from luigi_sshjob.ssh.transports.base import Process
from luigi_sshjob.ssh.transports.error_mapping import connection_lost
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route, known_hosts_name
from luigi_sshjob.ssh.transports.paramiko.channel_process import ChannelProcess
from luigi_sshjob.ssh.transports.paramiko.connection import ParamikoConnection
from luigi_sshjob.ssh.transports.paramiko.host_config import load_host_config
from luigi_sshjob.ssh.transports.paramiko.login import log_in
from luigi_sshjob.ssh.transports.paramiko.tunnel import tunnel
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter
from luigi_sshjob.ssh.transports.ssh_config import config_fingerprint

_MOMENT = 1.0  # seconds


class ParamikoTransport:
    """How one destination is reached without any program of this machine; see `Transport`."""

    shared = False

    def __init__(self, destination: Destination, settings: Settings):
        if settings.existing_master == "require":
            raise ConfigurationError(
                "existing_master is require, and paramiko cannot use a connection of ssh",
                host=str(destination),
                next_step="use the transport openssh for this host",
            )
        self.destination = destination
        self.settings = settings
        self.directory = runtime_dir(settings.runtime_dir)
        self.key = destination.key("paramiko", *config_fingerprint(settings.ssh_config))
        self.session_limiter = SessionLimiter(self.directory, self.key, settings.max_sessions)
        self._logins = LoginCoordinator(self.directory, self.key, destination, settings)
        self._link: ParamikoConnection | None = None
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
        """A session of this process's connection. Raises `SessionRefused` where the server has none left."""
        until = time.monotonic() + self.settings.request_timeout if deadline is None else deadline
        self._connected()
        slot = (session_limiter or self.session_limiter).acquire(deadline=until, host=str(self.destination))
        try:
            link, channel = self._session(until)
            line, tty = quoting.encode(" ".join(command)), self.destination.tty
            return ChannelProcess(link, channel, command, line, slot, deadline=until, tty=tty, **kwargs)
        except BaseException:
            slot.release(remove=True)
            raise

    def argv(self, command: Sequence[str]) -> list[str]:
        """There is none."""
        raise ConfigurationError(
            "the transport paramiko runs no local command",
            host=str(self.destination),
            next_step="use Popen or check_output, or the transport openssh",
        )

    @contextlib.contextmanager
    def forward_port(self, local_port: int, remote_host: str, remote_port: int) -> Iterator[int]:
        """While the block runs, a thread of this process listens on the port."""
        link = self._connected()
        with link.in_use(), tunnel(link, self.destination, local_port, (remote_host, remote_port)) as port:
            yield port

    def process_error(self, process: Process, stderr: str) -> SSHJobError | None:
        """The error for a session whose connection broke."""
        return self.connection_error(stderr) if isinstance(process, ChannelProcess) and process.broken else None

    def connection_error(self, stderr: str) -> SSHJobError:
        """A broken connection: what the server refuses, it refuses in `popen`."""
        return connection_lost(stderr, self.destination)

    def route(self) -> Route:
        """Where it would connect to."""
        way = load_host_config(self.destination, self.settings)
        through = "a ProxyCommand" if way.proxy_command else ""
        through = f"the jump host {','.join(way.jumps)}" if way.jumps else through
        return Route(way.hostname, way.port, way.username, known_hosts_name(way.key_name, way.key_port), through)

    def connect(self) -> None:
        """Logs in unless this process has."""
        self._connected()

    def connect_verbose(self) -> LoginInfo:
        """Logs in unless this process has a connection."""
        there, began = self._alive(), time.monotonic()
        return self._connected().arrival(None if there else time.monotonic() - began)

    @contextlib.contextmanager
    def private_copy(self) -> Iterator[ParamikoTransport]:
        """Another connection of this process, whose sessions are not counted among those of the others."""
        other = ParamikoTransport(self.destination, self.settings)
        other.session_limiter = SessionLimiter(
            self.directory, f"{self.key}.{secrets.token_hex(2)}-", self.settings.max_sessions
        )
        try:
            yield other
        finally:
            other.close()

    def close(self) -> None:
        """Ends this process's connection; other processes keep theirs, and so does who is logging in."""
        self._end(_MOMENT)

    def close_if_unused(self) -> None:
        """Ends the connection unless a session or a tunnel is open, or somebody is about to open one."""
        self._end(0, unless_used=True)

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of the connection, without touching it. Its threads go on in the parent only."""
        link, self._link = self._link, None
        self._lock = threading.Lock()
        if link:
            link.detach_after_fork()

    def _end(self, patience: float, *, unless_used: bool = False) -> None:
        # held for long by a login alone, which may take as long as a person's answer; the end of a process may not
        if not self._lock.acquire(timeout=patience):
            return
        try:
            if self._link and not (unless_used and self._link.used):
                self._link.close()
                self._link = None
        finally:
            self._lock.release()

    def _session(self, deadline: float) -> tuple[ParamikoConnection, Any]:
        link = self._connected()
        try:
            return link, link.session(deadline)
        except ConnectionLost:
            # it was dying when we looked; nothing has been asked of the host yet
            if link.alive:
                raise
        link = self._connected()
        return link, link.session(deadline)

    def _connected(self) -> ParamikoConnection:
        with self._lock:
            if not self._alive():
                self._logins.ensure(self._alive, self._log_in)
            assert self._link is not None
            return self._link

    def _alive(self) -> bool:
        return self._link is not None and self._link.alive

    def _log_in(self) -> None:
        self._link = log_in(self.destination, self.settings, self._logins.timeout)


_all: weakref.WeakSet[ParamikoTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_all):
        transport.detach_after_fork()


os.register_at_fork(after_in_child=_after_fork)
