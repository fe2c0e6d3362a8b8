"""File descriptors between the threads of a channel and the user of the process."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import select
import subprocess
import threading
from typing import Any


class FdSet:
    """Descriptors that several threads use, each closed exactly once."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def add(self, fd: int) -> int:
        """Take over a descriptor; returns it."""
        with self._lock:
            self._open.add(fd)
        return fd

    def pipe(self) -> tuple[int, int]:
        """Both ends of a new pipe: (reader, writer)."""
        reader, writer = os.pipe()
        return self.add(reader), self.add(writer)

    def close(self, fd: int | None = None) -> None:
        """Close one descriptor, or all; those already closed are skipped."""
        with self._lock:
            closing = self._open & {fd} if fd is not None else set(self._open)
            self._open -= closing
        for each in closing:
            os.close(each)

    def detach_after_fork(self) -> None:
        """Close a forked child's copies, which would keep the other ends from seeing the end of file."""
        self._lock = threading.Lock()
        self.close()


@dataclasses.dataclass(frozen=True)
class Streams:
    """The keywords of `subprocess.Popen` that select the streams of a process and their encoding."""

    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    bufsize: int = -1
    text: bool | None = None
    universal_newlines: bool | None = None
    encoding: str | None = None
    errors: str | None = None

    @property
    def combined(self) -> bool:
        """Whether stderr goes to stdout."""
        return bool(self.stderr == subprocess.STDOUT)

    def open_stdin(self, fds: FdSet) -> tuple[Any, int]:
        """(pipe of the caller or None, descriptor to read from or -1); the descriptor belongs to `fds`."""
        return self._open(fds, subprocess.DEVNULL if self.stdin is None else self.stdin, "r", 0)

    def open_stdout(self, fds: FdSet) -> tuple[Any, int]:
        """(pipe of the caller or None, descriptor to write to or -1)."""
        return self._open(fds, self.stdout, "w", 1)

    def open_stderr(self, fds: FdSet) -> tuple[Any, int]:
        """(pipe of the caller or None, descriptor to write to or -1); none if `combined`."""
        return self._open(fds, subprocess.DEVNULL if self.combined else self.stderr, "w", 2)

    def _open(self, fds: FdSet, target: Any, mode: str, inherited: int) -> tuple[Any, int]:
        if target == subprocess.DEVNULL:
            return None, -1
        if target != subprocess.PIPE:
            fd = inherited if target is None else target if isinstance(target, int) else target.fileno()
            return None, fds.add(os.dup(fd))
        reader, writer = os.pipe()
        own, callers = (reader, writer) if mode == "r" else (writer, reader)
        as_text = bool(self.text or self.universal_newlines or self.encoding or self.errors)
        # text needs a buffer, and only text has lines
        buffer = -1 if self.bufsize == 1 or (as_text and self.bufsize == 0) else self.bufsize
        pipe: Any = open(callers, "wb" if mode == "r" else "rb", buffer)  # noqa: SIM115  # the caller closes it
        if as_text:
            line_buffering = self.bufsize == 1
            pipe = io.TextIOWrapper(pipe, encoding=self.encoding, errors=self.errors, line_buffering=line_buffering)
        # the reader may have ended while a forked process still has a copy of its descriptor
        os.set_blocking(own, False)
        return pipe, fds.add(own)


def write_all(fd: int, data: bytes, *, unless: int) -> None:
    """Write all of `data`. Raises `BrokenPipeError` if the descriptor `unless` reports its end before that."""
    view = memoryview(data)
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    poller.register(unless, 0)
    while view:
        if any(ready == unless for ready, _ in poller.poll()):
            raise BrokenPipeError
        with contextlib.suppress(BlockingIOError):
            view = view[os.write(fd, view) :]
