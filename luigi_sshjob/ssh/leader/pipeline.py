"""Requests to a remote shell that do not wait for each other's answers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, Response, deadline_in
from luigi_sshjob.ssh.transports.base import Transport
from luigi_sshjob.ssh.transports.error_mapping import response_timeout


class LeaderMoved(Exception):
    """Another leader is to be asked; this one has not begun."""


@dataclasses.dataclass(eq=False)
class Request:
    """What goes to the remote shell, and who gets the answer, or the reason why there is none."""

    text: str
    answered: Callable[[Response], None] = lambda _: None
    failed: Callable[[Exception], None] = lambda _: None


class Pipeline:
    """One remote shell, opened when there is something to ask; `lost` is told when it is gone with all it knew.

    Nothing here blocks: a login is made by a thread of its own, which calls `wake` when it is done.
    """

    def __init__(
        self,
        transport: Transport,
        selector: selectors.BaseSelector,
        wake: Callable[[], None],
        lost: Callable[[Exception], None],
    ):
        self._transport = transport
        self._patience = transport.settings.request_timeout
        self._selector = selector
        self._wake = wake
        self._lost = lost
        self._shell: RemoteShell | None = None
        self._stdin = self._stdout = -1
        self._opening = self._closed = False
        self._opened: deque[RemoteShell | Exception] = deque()
        self._waiting: deque[Request] = deque()  # for a shell
        self._asked: deque[Request] = deque()  # of the shell, in this order
        self._outgoing = bytearray()
        self._heard = 0.0
        self.used = 0.0

    @property
    def open(self) -> bool:
        """Whether there is a shell."""
        return self._shell is not None

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._asked)

    def ask(self, request: Request) -> None:
        """Sends the request on, or keeps it until there is a shell."""
        if self._shell is None:
            self._waiting.append(request)
            if not self._opening:
                self._opening = True
                name = f"sshjob login {self._transport.destination}"
                threading.Thread(target=self._open, name=name, daemon=True).start()
            return
        if not self._asked:
            self._heard = time.monotonic()
        self._asked.append(request)
        idle = not self._outgoing
        self._outgoing += self._shell.conversation.request(request.text)
        if idle:
            self._speak(0)

    def tend(self) -> None:
        """Takes a shell that was opened meanwhile; gives up one that has been silent for too long."""
        if self._opened:
            self._take(self._opened.popleft())
        if self._asked and time.monotonic() - self._heard > self._patience:
            self._lose(response_timeout(self._transport.destination))

    def send_away(self) -> None:
        """What was not sent on yet is for another leader."""
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            request.failed(LeaderMoved())

    def drop(self) -> None:
        """Gives the session back; a next request opens one again."""
        if self._shell:
            self._ignore_shell()
            self._shell.close()
            self._shell = None

    def close(self) -> None:
        """For good."""
        self._closed = True
        self._discard_opened()
        self.drop()

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of what is its parent's."""
        for shell in (self._shell, *self._opened):
            if isinstance(shell, RemoteShell):
                shell.detach_after_fork()

    def _open(self) -> None:
        try:
            # a login has limits of its own, and takes longer than an answer
            self._transport.connect()
            self._opened.append(RemoteShell(self._transport, deadline=deadline_in(self._patience)))
        except Exception as error:
            self._opened.append(error)
        if self._closed:
            self._discard_opened()
        else:
            self._wake()

    def _discard_opened(self) -> None:
        while self._opened:
            opened = self._opened.popleft()
            if isinstance(opened, RemoteShell):
                opened.close()

    def _take(self, opened: RemoteShell | Exception) -> None:
        self._opening = False
        if isinstance(opened, Exception):
            self._lose(opened)
            return
        self._shell = opened
        self._heard = self.used = time.monotonic()
        self._stdin, self._stdout = opened.session.stdin, opened.session.stdout
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._selector.register(self._stdout, selectors.EVENT_READ, self._hear)
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            self.ask(request)

    def _speak(self, _: int) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._stdin, self._outgoing[: 1 << 18])]
        except BlockingIOError:
            with contextlib.suppress(KeyError):
                self._selector.register(self._stdin, selectors.EVENT_WRITE, self._speak)
            return
        except OSError:
            # nobody reads any more: reading says why
            self._outgoing.clear()
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._stdin)

    def _hear(self, _: int) -> None:
        assert self._shell is not None
        try:
            data = os.read(self._stdout, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._ignore_shell()
            self._lose(self._shell.session.lost())
            return
        self._heard = self.used = time.monotonic()
        for answer in self._shell.conversation.feed(data):
            self._asked.popleft().answered(answer)

    def _lose(self, error: Exception) -> None:
        """Whoever waits for an answer gets the error, and asks again if it wants to."""
        failed = [*self._asked, *self._waiting]
        self._asked.clear()
        self._waiting.clear()
        self.drop()
        for request in failed:
            request.failed(error)
        self._lost(error)

    def _ignore_shell(self) -> None:
        self._outgoing.clear()
        for fd in (self._stdin, self._stdout):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
