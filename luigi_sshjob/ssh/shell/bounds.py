"""Bounds on what a host sends, which may be broken or hostile: each response has a largest size and a longest time."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections.abc import Iterator

from luigi_sshjob.errors import InvalidResponse, LocalResourceError, SSHJobError
from luigi_sshjob.ssh.local.starting import start_thread

LARGEST_RESPONSE = 64 << 20
"""Bytes. The largest legal ones list a directory of a million files, or tens of thousands of jobs."""
LARGEST_PREAMBLE = 1 << 20
"""Bytes that rc files may print before a session begins."""
LONGEST_RESPONSE = 10
"""Times request_timeout; a response that arrives slowly takes at most that long."""
_KEPT = 1 << 15  # bytes of the beginning, and of the end, of standard error
_PARSERS_RAISE = (LookupError, ValueError, ArithmeticError, AssertionError, AttributeError, TypeError, StopIteration)
_PATIENCE = 1.0  # seconds to wait for the end of the standard error of a closed session


def too_large(host: str, doing: str = "") -> InvalidResponse:
    """Return the error for a host that sends more than any response may contain."""
    return InvalidResponse(
        "the host sent more than a response may contain, so the session was closed",
        host=host,
        doing=doing,
        next_step="check what the account's rc files and login shell print, and whether the host can be trusted; a "
        "directory of more than a million files cannot be listed",
        code="response-too-large",
    )


def invalid(host: str, verb: str, reason: object) -> InvalidResponse:
    """Return the error for a response that cannot be parsed."""
    return InvalidResponse(
        f"the host sent an invalid response to {verb}: {reason}",
        host=host,
        next_step="check the disk, the memory and /bin/sh of the host, and whether it can be trusted",
        code="invalid-response",
    )


@contextlib.contextmanager
def reading_response(verb: str, host: str) -> Iterator[None]:
    """Raise `InvalidResponse` in place of whatever a parser raises for a response that a host should not send."""
    try:
        yield
    except SSHJobError:
        raise
    except _PARSERS_RAISE as error:
        raise invalid(host, verb, repr(error)) from error


def ready(fd: int, event: int, deadline: float) -> bool:
    """Wait for an event of poll(2) until `deadline` (`time.monotonic()`)."""
    # not select(), which knows no descriptor above 1023
    poller = select.poll()
    poller.register(fd, event)
    left = deadline - time.monotonic()
    # after the deadline also what is ready is too late: a host may send a byte now and then
    return left > 0 and bool(poller.poll(None if deadline == math.inf else left * 1000))


class StderrReader:
    """The standard error of a session: a thread reads it, and keeps its beginning and its end only."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        # the end of the session is not the end of file while another process holds a copy of the writer
        self._wake, self._woken = socket.socketpair()
        self._first = self._last = b""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read; the process that writes has got a copy of `writer`."""
        self._close_writer()
        try:
            self._thread = start_thread(self._read, name="sshjob stderr")
        except LocalResourceError:
            self.discard()
            raise

    def close(self) -> None:
        """End, with what has been written until now."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self._wake.close()
        self._close_writer()

    def discard(self) -> None:
        """Close the descriptors of a reader that was not started, or of a forked child's copy."""
        self._close_writer()
        self._close_reader()
        self._wake.close()

    def text(self) -> str:
        """Return what has been written so far, without the middle of a long text."""
        if self._thread and self._wake.fileno() < 0:
            self._thread.join(_PATIENCE)
        gap = b"\n...\n" if len(self._last) >= _KEPT else b""
        return (self._first + gap + self._last).decode("utf-8", "replace")

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, -1
        if reader >= 0:
            os.close(reader)
        self._woken.close()

    def _close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _read(self) -> None:
        poller = select.poll()
        for fd in (self._reader, self._woken.fileno()):
            poller.register(fd, select.POLLIN)
        while True:
            events = dict(poller.poll())
            # what was written before the end is read first
            if self._reader not in events:
                break
            data = os.read(self._reader, 1 << 16)
            if not data:
                break
            room = _KEPT - len(self._first)
            self._first += data[:room]
            self._last = (self._last + data[room:])[-_KEPT:]
        self._close_reader()
