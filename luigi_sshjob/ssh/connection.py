"""What the rest of the package knows of a host: one connection per process and destination.

Processes share the ControlMaster; each has at most one remote shell, and gives its session back as soon
as another process waits for one.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time

from luigi_sshjob import config
from luigi_sshjob.errors import ConfigurationError, ConnectionLost, RemoteCommandFailed
from luigi_sshjob.ssh.destination import Destination
from luigi_sshjob.ssh.openssh import OpenSSH
from luigi_sshjob.ssh.remote_shell import Answer, RemoteShell, deadline_in
from luigi_sshjob.ssh.session import Session

logger = logging.getLogger("luigi-interface")

# A new transport is its own file and a line here.
TRANSPORTS = {"openssh": OpenSSH}

_IDLE_CLOSE = 60.0  # seconds an unused shell keeps its session while nobody waits for it
_ATTENTION = 0.25  # seconds between two looks at whether somebody waits


class Connection:
    """Requests and sessions on one host; logs in when first needed, and again when the connection was lost."""

    def __init__(self, destination: Destination, settings: config.sshjob):
        self.transport = _transport(settings.transport)(destination, settings)
        self._settings = settings
        self._lock = threading.Lock()
        self._shell: RemoteShell | None = None
        self._used = 0.0
        self._keeper: threading.Thread | None = None

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return str(self.transport.destination)

    def call(self, verb: str, *arguments: str | int | float, repeatable: bool = True, bounded: bool = True) -> Answer:
        """One request to the agent, whatever status it answers.

        A `repeatable` verb whose answer got lost is asked once more on a new connection. A `bounded` one must
        answer within request_timeout. Raises `ConnectionFailed` (see its kinds) when there is no answer to be had.
        """
        with self._lock:
            fresh, deadline = self._shell is None, self.request_deadline()
            try:
                return self._call(verb, arguments, bounded)
            except ConnectionLost as error:
                # a master that has just died takes a new session with it; silence would only be waited for once more
                if not repeatable or (fresh and time.monotonic() >= deadline):
                    raise
                logger.info("%s: %s; asking again", self.host, error.problem)
                return self._call(verb, arguments, bounded)

    def check(self, verb: str, *arguments: str | int | float, repeatable: bool = True, bounded: bool = True) -> Answer:
        """Like `call`; raises `RemoteCommandFailed` unless the status is 0."""
        answer = self.call(verb, *arguments, repeatable=repeatable, bounded=bounded)
        if answer.status != 0:
            raise self.refusal(verb, answer)
        return answer

    def refusal(self, verb: str, answer: Answer) -> RemoteCommandFailed:
        """The error for an answer that says no."""
        return RemoteCommandFailed(
            answer.text or f"{verb} failed with status {answer.status}",
            host=self.host,
            returncode=answer.status,
            cmd=verb,
            output=answer.output,
        )

    def session(self, line: str) -> Session:
        """A session of its own that runs `line`, for bytes in bulk."""
        return Session(self.transport, line, deadline=deadline_in(self._settings.request_timeout))

    def request_deadline(self) -> float:
        """When a request that begins now should have been answered."""
        return deadline_in(self._settings.request_timeout)

    def close_shell(self) -> None:
        """Gives this process's session back; the connection stays for others."""
        with self._lock:
            self._drop()

    def abandon(self) -> None:
        """For a forked child."""
        if self._shell:
            self._shell.abandon()
        self._shell = self._keeper = None
        self._lock = threading.Lock()

    def _call(self, verb: str, arguments: tuple[str | int | float, ...], bounded: bool) -> Answer:
        if self._shell and self._shell.ended():
            self._drop()
        try:
            if self._shell is None:
                self._shell = RemoteShell(self.transport, deadline=self.request_deadline())
            deadline = self.request_deadline() if bounded else math.inf
            answer = self._shell.call(verb, *arguments, deadline=deadline)
        except BaseException:
            # whatever it was, an answer may be half read
            self._drop()
            raise
        self._used = time.monotonic()
        self._attend()
        return answer

    def _drop(self) -> None:
        if self._shell:
            self._shell.close()
            self._shell = None

    def _attend(self) -> None:
        if self.transport.gate.contended():
            self._drop()
        elif self._keeper is None or not self._keeper.is_alive():
            self._keeper = threading.Thread(target=self._keep, name=f"sshjob {self.host}", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        # a process that is busy with something else must not sit on a session
        while True:
            time.sleep(_ATTENTION)
            with self._lock:
                if self._shell and self._unwanted():
                    self._drop()
                if self._shell is None:
                    self._keeper = None
                    return

    def _unwanted(self) -> bool:
        try:
            return time.monotonic() - self._used > _IDLE_CLOSE or self.transport.gate.contended()
        except OSError:  # the runtime directory was removed
            return True


def _transport(name: str) -> type[OpenSSH]:
    try:
        return TRANSPORTS[name]
    except KeyError:
        raise ConfigurationError(
            f"there is no transport {name!r}",
            next_step=f"set transport in [sshjob] to one of {', '.join(TRANSPORTS)}",
        ) from None


_connections: dict[tuple[Destination, config.sshjob], Connection] = {}


def connection_to(destination: Destination) -> Connection:
    """This process's connection to `destination` under the configuration as it is now."""
    settings = config.settings()
    found = _connections.get((destination, settings))
    if found is None:
        found = _connections[destination, settings] = Connection(destination, settings)
    return found


def close_shells() -> None:
    """Gives back all sessions of this process; a next request opens one again."""
    for connection in _connections.values():
        connection.close_shell()


def _after_fork() -> None:
    # the parent's shells are the parent's: a child that read or wrote there would garble both
    for connection in _connections.values():
        connection.abandon()
    _connections.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_shells)
