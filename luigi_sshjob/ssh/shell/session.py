"""One session on the shared connection, opened with a handshake and read against a deadline."""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from luigi_sshjob.errors import ConnectionLost, LoginRefused, SessionRefused, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.transports.base import Process, Transport
from luigi_sshjob.ssh.transports.error_mapping import response_timeout

T = TypeVar("T")


class Session:
    """A POSIX sh on the host that runs one line; its standard input and output are then the line's own.

    The line runs behind a handshake: what an rc file prints before is dropped, and a session that the
    server refused is told from one that began. A line that fails before it reads or writes is an
    ordinary exit status.
    """

    def __init__(self, transport: Transport, line: str, *, deadline: float):
        self._transport = transport
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the session
        self._input = socket.socket()
        self.preamble = b""
        """What rc files wrote on standard output, the last of it."""
        self.process = self._open(line, deadline)

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return str(self._transport.destination)

    @property
    def stdin(self) -> int:
        """Descriptor that writes to the line's standard input."""
        return _fd(self._input)

    @property
    def stdout(self) -> int:
        """Descriptor that reads the line's standard output."""
        return _fd(self.process.stdout)

    def read(self, size: int, *, deadline: float) -> bytes:
        """At most `size` bytes, as soon as there are any; b"" at the end. Raises `ConnectionLost` at the deadline."""
        if not _ready(self.stdout, select.POLLIN, deadline):
            raise self._silent()
        return os.read(self.stdout, size)

    def write(self, data: bytes | memoryview, *, deadline: float) -> None:
        """All of `data`. Raises `ConnectionLost` at the deadline, or where nobody reads any more."""
        view = memoryview(data)
        os.set_blocking(self.stdin, False)
        while view:
            if not _ready(self.stdin, select.POLLOUT, deadline):
                raise self._silent()
            try:
                view = view[os.write(self.stdin, view[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self.connection_error() from None

    def send(self, source: int, offset: int, count: int, *, deadline: float) -> int:
        """At most `count` bytes of an open file from `offset` on; how many. Raises as `write` and as reading does."""
        os.set_blocking(self.stdin, False)
        while _ready(self.stdin, select.POLLOUT, deadline):
            try:
                # no copy in this process: a second of processor time for each gigabyte
                return os.sendfile(self.stdin, source, offset, count)
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self.connection_error() from None
            except (AttributeError, OSError):  # not here, or not from such a file
                data = os.pread(source, min(count, 1 << 18), offset)
                self.write(data, deadline=deadline)
                return len(data)
        raise self._silent()

    def receive(self, target: int, count: int, *, deadline: float) -> int:
        """As `read`, into an open file at its position; how many. Raises as writing does, too."""
        if not _ready(self.stdout, select.POLLIN, deadline):
            raise self._silent()
        try:
            return os.splice(self.stdout, target, count)
        except (AttributeError, OSError):  # not here, or not into such a file
            data = os.read(self.stdout, count)
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]
            return len(data)

    def close_stdin(self) -> None:
        """Tells the far side that nothing more will come."""
        with contextlib.suppress(OSError):
            # not only closed: a process forked meanwhile has a copy
            self._input.shutdown(socket.SHUT_WR)
        self._input.close()

    def wait(self, *, deadline: float) -> int:
        """The exit status of the line; 255 when the connection broke. Raises `ConnectionLost` at the deadline."""
        try:
            status = self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._silent() from None
        return 255 if status == 0 and self._transport.process_error(self.process, "") else status

    def connection_error(self) -> SSHJobError:
        """The error for an end that came before its time."""
        self.close()
        return self._transport.connection_error(self.stderr_text())

    def stderr_text(self) -> str:
        """What the line, and ssh, wrote on standard error so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Ends the session from this side, at once."""
        self.close_stdin()
        with contextlib.suppress(OSError):
            self.process.stdout.close()
        if self.process.poll() is None:
            # closing the input ends what reads it; a line that does not read is cut off
            try:
                self.process.wait(0.2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of the parent's session without touching it."""
        for pipe in (self._input, self.process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.returncode = 0  # not our child: nothing to wait for

    def _open(self, line: str, deadline: float) -> Process:
        token = secrets.token_hex(16)
        request = quoting.encode(quoting.one_line(f"echo {token}; {line}")) + b"\n"

        def start() -> Process:
            self._stderr.truncate(0)
            self._start(deadline)
            with self._closing_on_failure():
                self.write(request, deadline=deadline)
                self._await(token.encode() + b"\n", deadline)
            return self.process

        return retry_refused_session(self._transport, start, deadline)

    def _start(self, deadline: float) -> None:
        self._input.close()
        self._input, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = self._transport.popen(
                    [quoting.BOOTSTRAP],
                    deadline=deadline,
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    bufsize=0,
                )
            except BaseException:
                self._input.close()
                raise

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _await(self, token: bytes, deadline: float) -> None:
        # byte by byte, so that what follows stays in the pipe for whoever is given the descriptor
        seen = b""
        while not seen.endswith(token):
            byte = self.read(1, deadline=deadline)
            if not byte:
                raise self._unopened(seen, deadline)
            seen = (seen + byte)[-1000:]
        self.preamble = seen[: -len(token)]

    def _unopened(self, seen: bytes, deadline: float) -> SSHJobError:
        status = self.wait(deadline=deadline)
        # a signal has ended the client here, or what it ran there: that says nothing about the account
        if status == 255 or status < 0 or status > 128:
            return self.connection_error()
        self.close()
        words = " ".join((seen.decode("utf-8", "replace") + self.stderr_text()).split())
        return LoginRefused(
            f"the account runs no /bin/sh: its session ended with status {status}, saying: {words or 'nothing'}",
            host=self.host,
            doing="opening a session",
            next_step="see what its login shell, or ForceCommand in the server's sshd_config, does instead",
        )

    def _silent(self) -> ConnectionLost:
        self.close()
        return response_timeout(self._transport.destination)


def retry_refused_session(transport: Transport, start: Callable[[], T], deadline: float) -> T:
    """Calls `start` again while the server refuses a session. Raises `SessionRefused` after `deadline`.

    A refused session has not run anything. The server allows fewer sessions than configured, or others use them.
    """
    while True:
        try:
            return start()
        except SessionRefused:
            transport.session_limiter.learn_limit()
            if time.monotonic() > deadline:
                raise
            time.sleep(jitter(0.1, 0.5))


def _ready(fd: int, event: int, deadline: float) -> bool:
    # not select(), which knows no descriptor above 1023
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(None if deadline == math.inf else max(0.0, deadline - time.monotonic()) * 1000))


def _fd(pipe: Any) -> int:
    fd = -1 if getattr(pipe, "closed", False) else int(pipe.fileno())
    if fd < 0:
        raise io.UnsupportedOperation("the session is closed")
    return fd
