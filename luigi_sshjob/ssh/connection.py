"""What the rest of the package knows of a host: one connection per process and destination.

All processes share the remote shell that one of them, the leader, holds; by OpenSSH also the ControlMaster.
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
from luigi_sshjob.errors import ConnectionLost, RemoteCommandFailed
from luigi_sshjob.remote import scripts
from luigi_sshjob.ssh.leader.client import LeaderClient
from luigi_sshjob.ssh.leader.subscriptions import Subscriptions
from luigi_sshjob.ssh.shell.errors import refused
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, Response, deadline_in, request_text
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.registry import transport_to

logger = logging.getLogger("luigi-interface")
T = TypeVar("T")


class Connection:
    """Requests and sessions on one host; logs in when first needed, and again when the connection was lost."""

    def __init__(self, destination: Destination, settings: config.Settings):
        with translate_os_errors("preparing the connection", host=str(destination)):
            self.transport = transport_to(destination, settings)
        self.settings = settings
        """Those of the host when the connection was asked for."""
        self._exchange = LeaderClient(self.transport, scripts.agent_hash())
        self._postponed: list[str] = []

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return str(self.transport.destination)

    def call(self, verb: str, *arguments: str | int | float, idempotent: bool = True, bounded: bool = True) -> Response:
        """One request to the agent, whatever status it answers.

        A `idempotent` verb whose answer got lost is asked once more on a new connection. A `bounded` one must
        answer within request_timeout; any other has a session of its own, as it would hold up what others ask.
        Raises `ConnectionFailed` (see its kinds) when there is no answer to be had.
        """
        self._do_postponed()
        with translate_os_errors(host=self.host):
            text = request_text(verb, *arguments)
            if not idempotent:
                return self._call(text, idempotent, bounded)
            return self.repeated(lambda: self._call(text, idempotent, bounded))

    def repeated(self, ask: Callable[[], T]) -> T:
        """What `ask` returns. Where the connection broke meanwhile it is called once more, on a new one."""
        since = time.monotonic()
        try:
            return ask()
        except ConnectionLost as error:
            # a master that has just died takes a new session with it; silence would only be waited for once more
            if time.monotonic() - since > self.settings.request_timeout:
                raise
            logger.info("%s: %s; asking again", self.host, error.problem)
            return ask()

    def watch(self, topic: str, *words: str | int | float, interval: float, urgent: bool) -> Response | None:
        """What is new of a job, see `watch_arm` in remote/server/watch.sh; None now and then while there is nothing.

        `interval` is the longest pause in seconds between two looks; an `urgent` one is looked at without a pause.
        Raises as `call`.
        """
        with translate_os_errors(host=self.host):
            return self._exchange.watch(topic, request_text("", *words), interval=interval, urgent=urgent)

    def watches(self) -> Subscriptions:
        """For a thread that watches many jobs."""
        return Subscriptions(self._exchange)

    def check(
        self, verb: str, *arguments: str | int | float, idempotent: bool = True, bounded: bool = True
    ) -> Response:
        """Like `call`; raises `RemoteCommandFailed` unless the status is 0."""
        answer = self.call(verb, *arguments, idempotent=idempotent, bounded=bounded)
        if answer.status != 0:
            raise self.refusal(verb, answer)
        return answer

    def refusal(self, verb: str, answer: Response) -> RemoteCommandFailed:
        """The error for an answer that says no."""
        return refused(verb, answer, self.host)

    def postpone(self, verb: str, *arguments: str) -> None:
        """A request that goes with the next one of this process, or with its end, and whose answer nobody waits for.

        For `__del__`, which may run at any moment and must not open a connection.
        """
        self._postponed.append(request_text(verb, *arguments))

    def session(self, line: str) -> Session:
        """A session of its own that runs `line`, for bytes in bulk."""
        self._do_postponed()
        with translate_os_errors("opening a session", host=self.host):
            return Session(self.transport, line, deadline=deadline_in(self.settings.request_timeout))

    @contextlib.contextmanager
    def conversation(self, deadline: float) -> Iterator[Callable[[Sequence[str]], list[Response]]]:
        """A remote shell of its own, for requests that are sent together and answered until `deadline`."""
        with translate_os_errors("opening a session", host=self.host):
            own = RemoteShell(self.transport, deadline=deadline)
        with contextlib.closing(own):
            yield lambda texts: own.call_all(texts, deadline=deadline)

    def request_deadline(self) -> float:
        """When a request that begins now should have been answered."""
        return deadline_in(self.settings.request_timeout)

    def close_shell(self, patience: float = 5.0) -> None:
        """Gives this process's session back, within `patience` seconds; a connection that others use stays."""
        self._do_postponed()
        self._exchange.close(patience)
        self.transport.release()

    def detach_after_fork(self) -> None:
        """For a forked child."""
        self._exchange.detach_after_fork()

    def _do_postponed(self) -> None:
        while self._postponed:
            text = self._postponed.pop()
            with contextlib.suppress(Exception):
                self._exchange.call(text, idempotent=False)

    def _call(self, text: str, idempotent: bool, bounded: bool) -> Response:
        if bounded:
            return self._exchange.call(text, idempotent=idempotent)
        own = RemoteShell(self.transport, deadline=self.request_deadline())
        with contextlib.closing(own):
            return own.call(text, deadline=math.inf)


_connections: dict[tuple[Destination, bool, config.Settings], Connection] = {}
_of_parents: list[Connection] = []
_making = threading.Lock()


def connection_to(destination: Destination) -> Connection:
    """This process's connection to `destination` under the configuration as it is now."""
    settings = config.settings(destination)
    wanted = (destination, destination.password is not None, settings)
    with _making:
        found = _connections.get(wanted)
        if found is None:
            found = _connections[wanted] = Connection(destination, settings)
            # what is registered last runs first: a transport's library may have registered something, too
            atexit.unregister(close_shells)
            atexit.register(close_shells)
        return found


def close_shells(patience: float = 5.0) -> None:
    """Gives back all sessions of this process, each within `patience` seconds; a next request opens one again."""
    for connection in list(_connections.values()):
        connection.close_shell(patience)


def _after_fork() -> None:
    global _making
    _making = threading.Lock()
    # the parent's shells are the parent's: a child that read or wrote there would garble both
    for connection in _connections.values():
        connection.detach_after_fork()
    # kept: what a transport's library does to tidy up, the host could hear
    _of_parents.extend(_connections.values())
    _connections.clear()


os.register_at_fork(after_in_child=_after_fork)


def _close_at_exit() -> None:
    # a forked child of multiprocessing ends without atexit
    multiprocessing.util.Finalize(None, close_shells, exitpriority=10)


multiprocessing.util.register_after_fork(_close_at_exit, lambda close: close())
