"""Pipelined requests to the remote shell: several are sent before the first response arrives."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import time
from collections import deque
from collections.abc import Callable

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import InvalidResponse, LocalResourceError
from luigi_sshjob.ssh.leader.service_time import ServiceTime
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.ssh.shell.bounds import LONGEST_RESPONSE, invalid
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, Response, deadline_in
from luigi_sshjob.ssh.transports.base import Transport
from luigi_sshjob.ssh.transports.error_mapping import connection_lost, response_timeout


class LeaderClosing(Exception):
    """The request was not sent, because the leader is closing; the next leader will send it."""


@dataclasses.dataclass(eq=False)
class Request:
    """A request to the remote shell, with callbacks for its response or the error that prevented one."""

    text: str
    on_response: Callable[[Response], None] = lambda _: None
    on_error: Callable[[Exception], None] = lambda _: None
    sent_at: float = 0.0

    def reject(self) -> None:
        """Fails it with `LeaderClosing`, before it was sent."""
        self.on_error(LeaderClosing())


class Pipeline:
    """One remote shell, opened for the first request; calls `on_lost` when it is lost with all state on the host.

    Nothing here blocks: a thread of its own logs in, and calls `wake` afterwards.
    """

    def __init__(
        self,
        transport: Transport,
        selector: selectors.BaseSelector,
        wake: Callable[[], None],
        on_lost: Callable[[Exception], None],
    ):
        self._transport = transport
        self._timeout = transport.settings.request_timeout
        self._selector = selector
        self._wake = wake
        self._on_lost = on_lost
        self._shell: RemoteShell | None = None
        self._stdin = self._stdout = -1
        self._opening = self._closed = False
        self._opened: deque[RemoteShell | Exception] = deque()  # by the login thread
        self._unsent: deque[Request] = deque()
        self._sent: deque[Request] = deque()  # in the order of their responses
        self._outgoing = bytearray()
        self._last_progress = self._first_began = 0.0
        self.last_used = 0.0
        """When the host last sent anything (`time.monotonic()`)."""
        self.service_time = ServiceTime()
        """Of the last response."""

    @property
    def unused(self) -> float:
        """Seconds since the host last sent anything."""
        return time.monotonic() - self.last_used

    @property
    def is_open(self) -> bool:
        """Whether there is a shell."""
        return self._shell is not None

    @property
    def busy(self) -> bool:
        """Whether responses are outstanding."""
        return bool(self._sent)

    def send(self, request: Request) -> None:
        """Sends a request, or queues it until the shell is open."""
        if self._shell is None:
            self._unsent.append(request)
            if not self._opening:
                self._opening = True
                try:
                    start_thread(self._open, name=f"sshjob login {self._transport.destination}")
                except LocalResourceError as error:
                    self._opened.append(error)
                    self._wake()
            return
        request.sent_at = time.monotonic()
        if not self._sent:
            self._last_progress = self._first_began = request.sent_at
        self._sent.append(request)
        idle = not self._outgoing
        self._outgoing += self._shell.protocol.request(request.text)
        if idle:
            self._on_writable(0)

    def check(self) -> None:
        """Starts to use a shell that was opened meanwhile; gives up one whose responses have timed out."""
        if self._opened:
            self._use(self._opened.popleft())
        now = time.monotonic()
        late = now - self._last_progress > self._timeout or now - self._first_began > LONGEST_RESPONSE * self._timeout
        if self._sent and late:
            self._fail(response_timeout(self._transport.destination))

    def reject_unsent(self) -> None:
        """Fails the queued requests with `LeaderClosing`."""
        unsent, self._unsent = self._unsent, deque()
        for request in unsent:
            request.reject()

    def close_shell(self) -> None:
        """Gives the session back; the next request opens one again."""
        if self._shell:
            self._unregister_shell()
            self._shell.close()
            self._shell = None

    def close(self) -> None:
        """Closes the shell, and any that is still being opened."""
        self._closed = True
        self._discard_opened()
        self.close_shell()

    def detach_after_fork(self) -> None:
        """Lets a forked child drop the parent's shells without touching them."""
        for shell in (self._shell, *self._opened):
            if isinstance(shell, RemoteShell):
                shell.detach_after_fork()

    def _open(self) -> None:
        try:
            with translate_os_errors():
                # a login has timeouts of its own, longer than that of a request
                self._transport.connect()
                self._opened.append(RemoteShell(self._transport, deadline=deadline_in(self._timeout)))
        except Exception as error:  # noqa: BLE001  # each request that waits for the shell gets it
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

    def _use(self, opened: RemoteShell | Exception) -> None:
        self._opening = False
        if isinstance(opened, Exception):
            self._fail(opened)
            return
        self._shell = opened
        self._last_progress = self.last_used = time.monotonic()
        self._stdin, self._stdout = opened.session.stdin, opened.session.stdout
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._selector.register(self._stdout, selectors.EVENT_READ, self._on_readable)
        unsent, self._unsent = self._unsent, deque()
        for request in unsent:
            self.send(request)

    def _on_writable(self, _: int) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._stdin, self._outgoing[: 1 << 18])]
        except BlockingIOError:
            with contextlib.suppress(KeyError):
                self._selector.register(self._stdin, selectors.EVENT_WRITE, self._on_writable)
            return
        except OSError:
            # the session has ended: the next read finds out why
            self._outgoing.clear()
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._stdin)

    def _on_readable(self, _: int) -> None:
        assert self._shell is not None
        try:
            data = os.read(self._stdout, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._unregister_shell()
            self._fail(self._shell.session.connection_error())
            return
        self._last_progress = self.last_used = time.monotonic()
        try:
            for response in self._shell.protocol.feed(data):
                self._first_began = time.monotonic()
                if not self._sent:
                    raise invalid(self._shell.session.host, "no request", "a response without a request")
                request = self._sent.popleft()
                self.service_time.record(request.sent_at)
                request.on_response(response)
        except InvalidResponse as error:
            # the others can be repeated
            if self._sent:
                self._sent.popleft().on_error(error)
            self._fail(connection_lost(error.problem, self._transport.destination))

    def _fail(self, error: Exception) -> None:
        """Fails all requests; their clients repeat those that are idempotent."""
        failed = [*self._sent, *self._unsent]
        self._sent.clear()
        self._unsent.clear()
        self.close_shell()
        for request in failed:
            request.on_error(error)
        self._on_lost(error)

    def _unregister_shell(self) -> None:
        self._outgoing.clear()
        for fd in (self._stdin, self._stdout):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
