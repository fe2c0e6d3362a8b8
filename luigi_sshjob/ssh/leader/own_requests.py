"""Requests of the leader's own process: its threads need no socket, which would take two descriptors for each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.leader.link import LeaderGone, assert_sendable
from luigi_sshjob.ssh.leader.messages import copy_error
from luigi_sshjob.ssh.leader.pipeline import LeaderClosing, Request
from luigi_sshjob.ssh.shell.remote_shell import Response


class OwnRequests:
    """A queue of requests. `take` and `close` are for the leader, the rest for all threads."""

    def __init__(self, wake: Callable[[], None]):
        self._wake = wake
        # a finalizer or a signal handler may send a request while the same thread holds it
        self._lock = threading.RLock()
        self._waiting: deque[Request] = deque()  # that the leader has not taken
        self._pending: set[Future[Response]] = set()  # of all requests without a response
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the leader still takes requests."""
        return not self._closed

    def response(self, text: str) -> Response:
        """Sends a request and waits for its response. Raises `LeaderGone`, or the error that the leader met."""
        assert_sendable(len(quoting.encode(text)))
        future: Future[Response] = Future()
        request = Request(text, future.set_result, future.set_exception)
        try:
            with self._lock:
                if self._closed:
                    raise LeaderGone(rejected=True)
                self._pending.add(future)
                self._waiting.append(request)
                if len(self._waiting) == 1:
                    self._wake()
            error = future.exception()
        except CancelledError:
            raise LeaderGone from None
        finally:
            with self._lock:
                self._pending.discard(future)
        if isinstance(error, LeaderClosing):
            raise LeaderGone(rejected=True)
        if isinstance(error, Exception):
            # several requests may have failed with it, and callers add to it
            raise copy_error(error)
        return future.result()

    def take(self) -> list[Request]:
        """Returns the requests that have arrived since the last call."""
        with self._lock:
            taken, self._waiting = list(self._waiting), deque()
        return taken

    def close(self) -> None:
        """Fails all requests that have no response; from now on no more are taken."""
        with self._lock:
            self._closed = True
            unsent, pending = list(self._waiting), list(self._pending)
        for request in unsent:
            request.reject()
        for future in pending:
            future.cancel()
