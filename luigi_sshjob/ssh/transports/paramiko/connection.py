"""One authenticated connection: its sessions, its keepalive, and its end when idle."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import paramiko

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConnectionLost
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.ssh.transports.error_mapping import connection_lost, session_refused
from luigi_sshjob.ssh.transports.login_info import LoginInfo
from luigi_sshjob.ssh.transports.paramiko.host_keys import fingerprint

logger = logging.getLogger("luigi-interface")

# Objects that a forked child inherited. Kept forever, because their finalizers would wait for locks that a thread of
# the parent held during the fork.
_inherited: list[object] = []


def close_quietly(channel: paramiko.Channel) -> None:
    """Close a channel, ignoring a connection that is closed already."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


class Tunnelable(Protocol):
    """What carries a connection and ends with it: a socket, a proxy command, or the connection to a jump host."""

    def close(self) -> None:
        """End it."""

    def detach_after_fork(self) -> None:
        """Close a forked child's copies without sending anything."""

    def stderr_text(self) -> str:
        """What it wrote to stderr, for error messages."""


class ForkAware(Protocol):
    """A user of the connection with descriptors of its own."""

    def detach_after_fork(self) -> None:
        """Close a forked child's copies."""


class ParamikoConnection:
    """The connection of `client`, which `log_in` made over `hop`."""

    def __init__(self, client: paramiko.SSHClient, destination: Destination, settings: Settings, hop: Tunnelable):
        transport = client.get_transport()
        assert transport is not None
        self.transport = transport
        self._client = client
        self._destination = destination
        self._settings = settings
        self._hop = hop
        self._users: weakref.WeakSet[ForkAware] = weakref.WeakSet()
        self._channels: weakref.WeakSet[paramiko.Channel] = weakref.WeakSet()
        self._use_count = 0
        self._idle_since = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        start_thread(self._watch, name=f"sshjob watch {destination}")

    @property
    def alive(self) -> bool:
        """Whether its end has not been noticed."""
        return self.transport.is_active()

    @property
    def used(self) -> bool:
        """Whether a session or a tunnel is open."""
        return self._use_count > 0

    def login_info(self, seconds: float | None) -> LoginInfo:
        """Details of the login, which took `seconds`."""
        authentication, key = self.transport.auth_handler, self.transport.get_remote_server_key()
        return LoginInfo(
            seconds=seconds,
            method=(authentication and authentication.auth_method) or "",
            host_key=fingerprint(key),
            # an unknown key is accepted in this case only
            trust="unchecked" if self._destination.no_host_key_check else "known",
            server=self.transport.remote_version.partition("-")[2].partition("-")[2].partition(" ")[0],
        )

    def session(self, deadline: float) -> paramiko.Channel:
        """A new session. Raises `SessionRefused`, or `ConnectionLost` also at the deadline (`time.monotonic()`)."""
        try:
            channel = self.transport.open_session(timeout=max(0.1, deadline - time.monotonic()))
        except paramiko.ChannelException as error:
            raise session_refused(self._destination) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            # of several refusals at the same time, paramiko keeps the reason of only one
            if self.alive and "Timeout" not in str(error):
                raise session_refused(self._destination) from error
            raise self.connection_error(str(error)) from error
        self._channels.add(channel)
        return channel

    def connection_error(self, reason: str) -> ConnectionLost:
        """The error for the end of this connection."""
        return connection_lost(reason, self._destination)

    def channel_to(self, address: tuple[str, int], source: tuple[str, int], timeout: float) -> paramiko.Channel:
        """A channel that the server connects to `address`. Raises paramiko's exceptions."""
        channel = self.transport.open_channel("direct-tcpip", address, source, timeout=timeout)
        self._channels.add(channel)
        return channel

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the connection from being idle while the block runs."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self, user: ForkAware | None = None) -> None:
        """Count one more use, until `release`."""
        with self._lock:
            self._use_count += 1
            if user is not None:
                self._users.add(user)

    def release(self) -> None:
        """Count one use less."""
        with self._lock:
            self._use_count -= 1
            self._idle_since = time.monotonic()

    def close(self) -> None:
        """End the connection, its sessions and its tunnels."""
        self._ended.set()
        self._client.close()
        self._hop.close()

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the descriptors without sending a byte."""
        # makes every method of the remaining references do nothing
        self.transport.active = False  # type: ignore[attr-defined]
        _inherited.append((self._client, list(self._channels), list(self._users)))
        for channel in list(self._channels):
            channel.active = False
            channel.closed = True
            channel.lock = threading.Lock()
        for user in list(self._users):
            user.detach_after_fork()
        self._hop.detach_after_fork()

    def stderr_text(self) -> str:
        """Nothing: as the connection to a jump host, it has no stderr."""
        return ""

    def _watch(self) -> None:
        """Implement ssh's ServerAliveInterval, ServerAliveCountMax and ControlPersist."""
        interval = self._settings.keepalive_interval
        last_keepalive = time.monotonic()
        while not self._ended.wait(min(1.0, interval or 1.0)) and self.alive:
            now = time.monotonic()
            with self._lock:
                idle = not self._use_count and now - self._idle_since > self._settings.control_persist
            if idle:
                self.close()
                return
            if interval and now - last_keepalive >= interval:
                last_keepalive = now
                self._send_keepalive(interval * self._settings.keepalive_count)

    def _send_keepalive(self, timeout: float) -> None:
        # without a response the socket is closed: an orderly close would wait for the host
        timer = threading.Timer(timeout, self._disconnect)
        timer.daemon = True
        timer.start()
        with contextlib.suppress(Exception):
            self.transport.global_request("keepalive@openssh.com", wait=True)
        timer.cancel()

    def _disconnect(self) -> None:
        logger.info("%s: no response to keepalives; closing the connection", self._destination)
        with contextlib.suppress(OSError):
            sock: Any = self.transport.sock
            sock.shutdown(socket.SHUT_RDWR) if isinstance(sock, socket.socket) else sock.close()
