"""One authenticated connection: its sessions, whether it still lives, and when it has been idle for too long."""

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
from luigi_sshjob.ssh.transports.error_mapping import connection_lost, session_refused
from luigi_sshjob.ssh.transports.login_info import LoginInfo
from luigi_sshjob.ssh.transports.paramiko.host_keys import shown

logger = logging.getLogger("luigi-interface")

# Kept for ever: what a forked child has of its parent's must not be tidied up, which would take locks that a thread
# of the parent held.
_of_a_parent: list[object] = []


def hang_up(channel: paramiko.Channel) -> None:
    """Closes it, also where there is nobody left to be told so."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


class Tunnelable(Protocol):
    """What a connection is made over, and ends with it."""

    def close(self) -> None:
        """Ends it."""

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of it, without touching it."""

    def said(self) -> str:
        """What there is to add to an error."""


class User(Protocol):
    """What a forked child must not go on with."""

    def detach_after_fork(self) -> None:
        """Lets go of it."""


class ParamikoConnection:
    """Made by `log_in` over `hop`, which may be a link to a jump host."""

    def __init__(self, client: paramiko.SSHClient, destination: Destination, settings: Settings, hop: Tunnelable):
        transport = client.get_transport()
        assert transport is not None
        self.transport = transport
        self._client = client
        self._destination = destination
        self._settings = settings
        self._hop = hop
        self._users: weakref.WeakSet[User] = weakref.WeakSet()
        self._channels: weakref.WeakSet[paramiko.Channel] = weakref.WeakSet()
        self._open = 0
        self._idle_since = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name=f"sshjob watch {destination}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether nothing has been heard of its end."""
        return self.transport.is_active()

    @property
    def used(self) -> bool:
        """Whether a session or a tunnel is open."""
        return self._open > 0

    def arrival(self, seconds: float | None) -> LoginInfo:
        """What the login has shown, which took so long."""
        authentication, key = self.transport.auth_handler, self.transport.get_remote_server_key()
        return LoginInfo(
            seconds=seconds,
            method=(authentication and authentication.auth_method) or "",
            host_key=shown(key),
            # one that is not known is not taken otherwise
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
            # of refusals at the same time paramiko keeps the reason of one only
            if self.alive and "Timeout" not in str(error):
                raise session_refused(self._destination) from error
            raise self.lost(str(error)) from error
        self._channels.add(channel)
        return channel

    def lost(self, said: str) -> ConnectionLost:
        """The error for its end."""
        return connection_lost(said, self._destination)

    def channel_to(self, address: tuple[str, int], source: tuple[str, int], timeout: float) -> paramiko.Channel:
        """A channel that the server connects to `address`; raises as paramiko does."""
        channel = self.transport.open_channel("direct-tcpip", address, source, timeout=timeout)
        self._channels.add(channel)
        return channel

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs it is not idle."""
        self.taken()
        try:
            yield
        finally:
            self.given_back()

    def taken(self, user: User | None = None) -> None:
        """One more uses it, until `given_back`."""
        with self._lock:
            self._open += 1
            if user is not None:
                self._users.add(user)

    def given_back(self) -> None:
        """One less uses it."""
        with self._lock:
            self._open -= 1
            self._idle_since = time.monotonic()

    def close(self) -> None:
        """Ends it, with all that uses it."""
        self._ended.set()
        self._client.close()
        self._hop.close()

    def detach_after_fork(self) -> None:
        """For a forked child: closes its copies of the descriptors, and sends not a byte."""
        # makes whatever still has it do nothing
        self.transport.active = False  # type: ignore[attr-defined]
        _of_a_parent.append((self._client, list(self._channels), list(self._users)))
        for channel in list(self._channels):
            channel.active = False
            channel.closed = True
            channel.lock = threading.Lock()
        for user in list(self._users):
            user.detach_after_fork()
        self._hop.detach_after_fork()

    def said(self) -> str:
        """Nothing: it was made."""
        return ""

    def _watch(self) -> None:
        """ssh's ServerAliveInterval and ServerAliveCountMax; ControlPersist."""
        interval = self._settings.keepalive_interval
        asked = time.monotonic()
        while not self._ended.wait(min(1.0, interval or 1.0)) and self.alive:
            now = time.monotonic()
            with self._lock:
                idle = not self._open and now - self._idle_since > self._settings.control_persist
            if idle:
                return self.close()
            if interval and now - asked >= interval:
                asked = now
                self._ask_for_life(interval * self._settings.keepalive_count)

    def _ask_for_life(self, patience: float) -> None:
        # a connection that says nothing is given up by closing its socket: closing it in order would wait for it
        timer = threading.Timer(patience, self._cut)
        timer.daemon = True
        timer.start()
        with contextlib.suppress(Exception):
            self.transport.global_request("keepalive@openssh.com", wait=True)
        timer.cancel()

    def _cut(self) -> None:
        logger.info("%s: the host has been silent for too long; the connection is given up", self._destination)
        with contextlib.suppress(OSError):
            sock: Any = self.transport.sock
            sock.shutdown(socket.SHUT_RDWR) if isinstance(sock, socket.socket) else sock.close()
