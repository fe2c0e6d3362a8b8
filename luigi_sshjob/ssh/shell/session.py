"""A session on the shared connection."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from luigi_sshjob.errors import ConnectionLost, SessionRefused, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.shell.bounds import LARGEST_PREAMBLE, StderrReader, ready, too_large
from luigi_sshjob.ssh.shell.handshake import early_end, find_rc_problem
from luigi_sshjob.ssh.transports.base import Process, Transport
from luigi_sshjob.ssh.transports.error_mapping import response_timeout

T = TypeVar("T")


class Session:
    """A POSIX sh on the host that runs one line, which gets the standard input and output of the session.

    A handshake precedes the line. It separates the output of rc files from that of the line, and shows whether the
    server refused the session; after it, a failure of the line is an ordinary exit status.

    Deadlines are in `time.monotonic()`.
    """

    def __init__(self, transport: Transport, line: str, *, deadline: float):
        self._transport = transport
        self._input = socket.socket()
        self.preamble = b""
        """The end of what rc files printed."""
        self.process = self._open(line, deadline)

    @property
    def host(self) -> str:
        """Name of the host as the user wrote it."""
        return str(self._transport.destination)

    @property
    def stdin(self) -> int:
        """Descriptor for the line's standard input."""
        return _fd(self._input)

    @property
    def stdout(self) -> int:
        """Descriptor for the line's standard output."""
        return _fd(self.process.stdout)

    def read(self, size: int, *, deadline: float) -> bytes:
        """Read at most `size` bytes, b"" at the end. Raises `ConnectionLost` at the deadline."""
        if not ready(self.stdout, select.POLLIN, deadline):
            raise self._timeout()
        return os.read(self.stdout, size)

    def write(self, data: bytes | memoryview, *, deadline: float) -> None:
        """Write all of `data`. Raises `ConnectionLost` at the deadline, or if the line reads no more."""
        try:
            self._write(data, deadline)
        except (BrokenPipeError, ConnectionResetError):
            raise self.connection_error() from None

    def send(self, source: int, offset: int, count: int, *, deadline: float) -> int:
        """Write at most `count` bytes of an open local file from `offset` on; return how many. Raises as `write`."""
        os.set_blocking(self.stdin, False)
        while ready(self.stdin, select.POLLOUT, deadline):
            try:
                # a copy through this process would cost a second of CPU time for each gigabyte
                return os.sendfile(self.stdin, source, offset, count)
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self.connection_error() from None
            except (AttributeError, OSError):  # not supported by this system, or for this file
                data = os.pread(source, min(count, 1 << 18), offset)
                self.write(data, deadline=deadline)
                return len(data)
        raise self._timeout()

    def receive(self, target: int, count: int, *, deadline: float) -> int:
        """Read at most `count` bytes into an open local file at its position; return how many. Raises as `read`."""
        if not ready(self.stdout, select.POLLIN, deadline):
            raise self._timeout()
        try:
            return os.splice(self.stdout, target, count)
        except (AttributeError, OSError):  # not supported by this system, or for this file
            data = os.read(self.stdout, count)
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
            return len(data)

    def close_stdin(self) -> None:
        """End the standard input of the line."""
        with contextlib.suppress(OSError):
            # closing is not enough: a process that was forked meanwhile has a copy
            self._input.shutdown(socket.SHUT_WR)
        self._input.close()

    def wait(self, *, deadline: float) -> int:
        """Return the exit status of the line, 255 if the connection broke. Raises `ConnectionLost` at the deadline."""
        try:
            status = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._timeout() from None
        return 255 if self._transport.process_error(self.process, "") else status

    def connection_error(self) -> SSHJobError:
        """Close the session, and return the error for its unexpected end."""
        self.close()
        return self._transport.connection_error(self.process, self.stderr_text())

    def stderr_text(self) -> str:
        """Return the standard error of the line so far; of a long one the beginning and the end."""
        if self.process.poll() is not None:
            # all of it, although another process may hold a copy of the descriptor
            self._stderr.close()
        return self._stderr.text()

    def close(self) -> None:
        """Close the session without waiting for the line."""
        self.close_stdin()
        with contextlib.suppress(OSError):
            self.process.stdout.close()
        if self.process.poll() is None:
            # a line that reads its input ends now; another one is killed
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._stderr.close()

    def detach_after_fork(self) -> None:
        """Close a forked child's copies of the descriptors; the parent's session stays open."""
        for close in (self._input.close, self.process.stdout.close, self._stderr.discard):
            with contextlib.suppress(OSError):
                close()
        self.process.returncode = 0  # a child of the parent cannot be waited for here

    def _open(self, line: str, deadline: float) -> Process:
        token = secrets.token_hex(16)
        request = quoting.encode(quoting.one_line(f"echo {token}; {line}")) + b"\n"

        def start() -> Process:
            self._start(deadline)
            with self._closing_on_failure():
                # a session that has ended already shows in its output why
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._write(request, deadline)
                self._await_handshake(token.encode() + b"\n", deadline)
            return self.process

        try:
            return retry_refused_session(self._transport, start, deadline)
        except ConnectionLost as error:
            # what has read the request never responds
            if error.code == "timeout" and self._transport.alive():
                raise find_rc_problem(self._transport) or error from None
            raise

    def _write(self, data: bytes | memoryview, deadline: float) -> None:
        view = memoryview(data)
        os.set_blocking(self.stdin, False)
        while view:
            if not ready(self.stdin, select.POLLOUT, deadline):
                raise self._timeout()
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self.stdin, view[: 1 << 20]) :]

    def _start(self, deadline: float) -> None:
        self._input.close()
        self._input, remote_end = socket.socketpair()
        self._stderr = StderrReader()
        pipes = {"stdin": remote_end.fileno(), "stdout": subprocess.PIPE, "stderr": self._stderr.writer}
        with remote_end:
            try:
                self.process = self._transport.popen([quoting.BOOTSTRAP], deadline=deadline, bufsize=0, **pipes)
            except BaseException:
                self._input.close()
                self._stderr.discard()
                raise
        with self._closing_on_failure():
            self._stderr.start()

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _await_handshake(self, token: bytes, deadline: float) -> None:
        seen, count, missing = b"", 0, len(token)
        while missing:
            # never more than what the token still lacks: what follows it is for the user of the descriptor
            data = self.read(missing, deadline=deadline)
            if not data:
                raise self._handshake_error(seen, deadline)
            count += len(data)
            if count > LARGEST_PREAMBLE:
                raise too_large(self.host, "opening a session")
            seen = (seen + data)[-1000:]
            missing = next(lack for lack in range(len(token) + 1) if seen.endswith(token[: len(token) - lack]))
        self.preamble = seen[: -len(token)]

    def _handshake_error(self, seen: bytes, deadline: float) -> SSHJobError:
        status = self.wait(deadline=deadline)
        # 255 and signals are failures of the connection or of a process, not of the account
        if status == 255 or status < 0 or status > 128:
            return self.connection_error()
        self.close()
        output = seen.decode("utf-8", "replace") + self.stderr_text()
        return find_rc_problem(self._transport) or early_end(self._transport, output, status)

    def _timeout(self) -> ConnectionLost:
        self.close()
        return response_timeout(self._transport.destination)


def retry_refused_session(transport: Transport, start: Callable[[], T], deadline: float) -> T:
    """Call `start` again while the server refuses a session. Raises `SessionRefused` after `deadline`.

    A refused session has run nothing. The server allows fewer sessions than configured, or other clients use them.
    """
    while True:
        try:
            return start()
        except SessionRefused:
            transport.session_limiter.learn_limit()
            if time.monotonic() > deadline:
                raise
            time.sleep(jitter(0.1, 0.5))


def _fd(pipe: Any) -> int:
    fd = -1 if getattr(pipe, "closed", False) else int(pipe.fileno())
    if fd < 0:
        raise io.UnsupportedOperation("the session is closed")
    return fd
