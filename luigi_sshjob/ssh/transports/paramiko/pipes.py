"""Descriptors between a channel's threads and whoever uses the process."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import threading
from typing import Any


class FdSet:
    """The descriptors that our threads use; closed once, by whoever is done with one first."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def own(self, fd: int) -> int:
        """From now on it is to be closed here."""
        with self._lock:
            self._open.add(fd)
        return fd

    def pipe(self) -> tuple[int, int]:
        """Both ends of a new one."""
        reader, writer = os.pipe()
        return self.own(reader), self.own(writer)

    def close(self, fd: int | None = None) -> None:
        """One, or all; not what is closed already."""
        with self._lock:
            closing = self._open & {fd} if fd is not None else set(self._open)
            self._open -= closing
        for one in closing:
            os.close(one)

    def detach_after_fork(self) -> None:
        """For a forked child, where whoever holds one end keeps the other from seeing its end."""
        self._lock = threading.Lock()
        self.close()


def pump_end(
    ends: FdSet,
    given: Any,
    mode: str,
    *,
    default: int = -1,
    bufsize: int = -1,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
) -> tuple[Any, int]:
    """(the user's end or None, our descriptor or -1) for one stream as Popen's caller gives it.

    `mode` is what we do there: "r" for the standard input.
    """
    if given == subprocess.DEVNULL:
        return None, -1
    if given != subprocess.PIPE:
        fd = default if given is None else given if isinstance(given, int) else given.fileno()
        return None, ends.own(os.dup(fd))
    reader, writer = os.pipe()
    ours, theirs = (reader, writer) if mode == "r" else (writer, reader)
    as_text = bool(text or universal_newlines or encoding or errors)
    # text needs a buffer, and only text has lines
    buffer = -1 if bufsize == 1 or (as_text and bufsize == 0) else bufsize
    pipe: Any = open(theirs, "wb" if mode == "r" else "rb", buffer)  # noqa: SIM115  # the caller's
    if as_text:
        pipe = io.TextIOWrapper(pipe, encoding=encoding, errors=errors, line_buffering=bufsize == 1)
    # the other end's reader may be gone and a copy of it live on in a forked process
    os.set_blocking(ours, False)
    return pipe, ends.own(ours)


def write_all(fd: int, data: bytes, *, unless: int) -> None:
    """All of it. Raises `BrokenPipeError` when the descriptor `unless` has ended before somebody has read it."""
    view = memoryview(data)
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    poller.register(unless, 0)
    while view:
        if any(ready == unless for ready, _ in poller.poll()):
            raise BrokenPipeError
        with contextlib.suppress(BlockingIOError):
            view = view[os.write(fd, view) :]
