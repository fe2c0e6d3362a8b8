"""The interface of `ssh` to the rest of the package: one `Connection` per process and destination.

All processes of an account share one remote shell, which the leader holds, and with OpenSSH one ControlMaster.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from luigi_sshjob import config
from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConnectionLost
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.leader.client import LeaderClient
from luigi_sshjob.ssh.leader.subscriptions import Subscriptions
from luigi_sshjob.ssh.shell.errors import refused
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, Response, deadline_in, limited_text, request_text
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.registry import transport_to

logger = logging.getLogger("luigi-interface")
T = TypeVar("T")

PATH_VERBS = ("fs_", "stuck_path")
"""Beginnings of the verbs that look at users' paths, see remote/server/limited.sh."""


class Connection:
    """Requests to one host, and sessions on it; logs in on first use, and again after the connection was lost."""

    def __init__(self, destination: Destination, settings: config.Settings):
        with translate_os_errors("preparing the connection", host=str(destination)):
            self.transport = transport_to(destination, settings)
        self.settings = settings
        """The settings of the host when the connection was made."""
        self._leader_client = LeaderClient(self.transport, scripts.server_hash())
        self._deferred: list[str] = []

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return str(self.transport.destination)

    def request(
        self,
        verb: str,
        *arguments: str | int | float,
        check: bool = True,
        idempotent: bool = True,
        dedicated_session: bool = False,
    ) -> Response:
        """Runs a function of the remote scripts.

        If the response is lost, an `idempotent` request is sent once more, on a new connection. The response must
        arrive within request_timeout, except in a `dedicated_session`: that is for requests that take longer and
        would delay those of other tasks. Verbs for users' paths have a time limit on the host, path_timeout, and a
        session for themselves, so that a dead mount delays nothing else.

        Raises `RemoteCommandFailed` if the status is not 0 (unless `check` is false), and `ConnectionFailed` (see its
        subclasses) if there is no response.
        """
        self.send_deferred()
        if dedicated_session and verb.startswith(PATH_VERBS):
            self.reach(*(argument for argument in arguments if isinstance(argument, quoting.Word)))
        with translate_os_errors(host=self.host):
            text = self._text(verb, arguments, limited=not dedicated_session)
            if idempotent:
                response = self.retry_once(lambda: self._request(text, idempotent, dedicated_session))
            else:
                response = self._request(text, idempotent, dedicated_session)
            if check and response.status != 0:
                raise refused(verb, response, self.host)
            return response

    def reach(self, *paths: quoting.Word) -> None:
        """Looks at `paths` (also where nothing exists), before a session without a time limit does.

        Raises `RemoteCommandFailed` (code path-not-responding) if their file system does not respond.
        """
        if paths:
            self.request("fs_reach", *paths)

    def retry_once(self, operation: Callable[[], T]) -> T:
        """Calls `operation`, and if the connection breaks meanwhile once more, on a new connection."""
        since = time.monotonic()
        try:
            return operation()
        except ConnectionLost as error:
            # after a timeout a second attempt would only time out again; a master that has just died fails at once
            if time.monotonic() - since > self.settings.request_timeout:
                raise
            logger.info("%s: %s; retrying", self.host, error.problem)
            return operation()

    def request_later(self, verb: str, *arguments: str) -> None:
        """Sends a request before the next use of the host by this process, or at its exit, and ignores the response.

        For `__del__`, which may run at any moment and must not open a connection.
        """
        self._deferred.append(self._text(verb, arguments, limited=True))

    def send_deferred(self) -> None:
        """Sends the requests of `request_later`; for what does not use the methods of this class."""
        while self._deferred:
            text = self._deferred.pop()
            with contextlib.suppress(Exception):
                self._leader_client.request(text, idempotent=False)

    def subscriptions(self) -> Subscriptions:
        """Subscriptions to changes on the host, for one thread."""
        # a thread that waits for jobs holds one link to the leader, not two
        self._leader_client.close_thread_link()
        return Subscriptions(self._leader_client)

    def session(self, line: str) -> Session:
        """Opens a session that runs `line`, for bulk data."""
        self.send_deferred()
        with translate_os_errors("opening a session", host=self.host):
            return Session(self.transport, line, deadline=self.request_deadline())

    @contextlib.contextmanager
    def dedicated_shell(self, deadline: float | None = None) -> Iterator[Callable[[Sequence[str]], list[Response]]]:
        """A remote shell in a session of its own; yields a function that sends several requests at once.

        All responses must arrive before `deadline` (`time.monotonic()`), by default those of each call within
        request_timeout.
        """
        with translate_os_errors("opening a session", host=self.host):
            shell = RemoteShell(self.transport, deadline=deadline or self.request_deadline())
        with contextlib.closing(shell):
            yield lambda texts: shell.pipeline(texts, deadline=deadline or self.request_deadline())

    def request_deadline(self) -> float:
        """The time (`time.monotonic()`) at which a request sent now times out."""
        return deadline_in(self.settings.request_timeout)

    def close_shell(self, timeout: float = 5.0) -> None:
        """Closes this process's session within `timeout` seconds; a connection that others use stays open."""
        self.send_deferred()
        self._leader_client.close(timeout)
        self.transport.close_if_unused()

    def detach_after_fork(self) -> None:
        """Lets a forked child drop the parent's sockets and sessions without touching them."""
        self._leader_client.detach_after_fork()

    def _text(self, verb: str, arguments: Sequence[str | int | float], *, limited: bool) -> str:
        if not limited or not verb.startswith(PATH_VERBS):
            return request_text(verb, *arguments)
        # the response must arrive before the leader gives the session up
        limit = math.ceil(min(self.settings.path_timeout, self.settings.request_timeout / 2))
        return limited_text(limit, verb, *arguments)

    def _request(self, text: str, idempotent: bool, dedicated_session: bool) -> Response:
        if not dedicated_session:
            return self._leader_client.request(text, idempotent=idempotent)
        shell = RemoteShell(self.transport, deadline=self.request_deadline())
        with contextlib.closing(shell):
            return shell.call(text, deadline=math.inf)


_connections: dict[tuple[Destination, bool, config.Settings], Connection] = {}
_inherited: list[Connection] = []
_creating = threading.Lock()


def connection_to(destination: Destination) -> Connection:
    """Returns the connection to `destination` with the current configuration; there is one per process."""
    settings = config.get_settings(destination)
    key = (destination, destination.password is not None, settings)
    with _creating:
        connection = _connections.get(key)
        if connection is None:
            connection = _connections[key] = Connection(destination, settings)
            # exit handlers run in reverse order: before those that a transport's library may have registered
            atexit.unregister(close_shells)
            atexit.register(close_shells)
        return connection


def close_shells(timeout: float = 5.0) -> None:
    """Closes all sessions of this process, each within `timeout` seconds; the next request opens one again."""
    for connection in list(_connections.values()):
        connection.close_shell(timeout)


def _after_fork() -> None:
    global _creating
    _creating = threading.Lock()
    # a child that reads from or writes to the parent's shells would corrupt both
    for connection in _connections.values():
        connection.detach_after_fork()
    # kept alive: the finalizers of a transport's library could disconnect the parent
    _inherited.extend(_connections.values())
    _connections.clear()


os.register_at_fork(after_in_child=_after_fork)


def _close_at_exit() -> None:
    # a forked child of multiprocessing exits without running atexit handlers
    multiprocessing.util.Finalize(None, close_shells, exitpriority=10)


multiprocessing.util.register_after_fork(_close_at_exit, lambda close: close())
