"""Raw binary streams to and from files on a host; an incomplete transfer always raises."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import posixpath
import select
from typing import Any

from luigi_sshjob.error_context import describes, no_such_file
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import too_large
from luigi_sshjob.ssh.shell.session import Session

CHUNK = 1 << 18  # bytes; each chunk has its own deadline, because a slow host is not an unreachable one
_LONGEST_LINE = 1 << 16  # bytes
_DRAIN_TIMEOUT = 200  # milliseconds


class _RemoteStream(io.RawIOBase):
    """A session that transfers the file or directory at `path`."""

    _session: Session

    def __init__(self, connection: Connection, path: str):
        super().__init__()
        self._connection = connection
        self.host = connection.host
        self.path = path

    def _deadline(self) -> float:
        return self._connection.request_deadline()

    def _read_line(self) -> bytes:
        """The next line without its end; empty if the session ended before it."""
        line, deadline = b"", self._deadline()
        while not line.endswith(b"\n"):
            # byte by byte: the file's content follows, and another process may read it
            byte = self._session.read(1, deadline=deadline)
            if not byte:
                return b""
            if len(line) > _LONGEST_LINE:
                self._session.close()
                raise too_large(self.host)
            line += byte
        return line[:-1]

    def _wait(self) -> tuple[int, str]:
        """Waits for the command on the host and returns its exit status and stderr. Raises `ConnectionLost`."""
        status = self._session.wait(deadline=self._deadline())
        stderr = self._session.stderr_text().strip()
        if status == 255:
            raise self._session.connection_error()
        self._session.close()
        return status, stderr


class RemoteReader(_RemoteStream):
    """The content of a remote file from `offset` on, or an archive of a directory if `tree` is set.

    The stream ends only where the file ends. Raises `FileMissing` (also a `FileNotFoundError`) if the file does not
    exist, `RemoteCommandFailed` if it cannot be read, `ConnectionLost` when the connection breaks.
    """

    def __init__(self, connection: Connection, path: str, offset: int = 0, *, tree: bool = False):
        super().__init__(connection, path)
        self._ended = self._fd_shared = False
        self.announced = 0, 0
        """Number and size of the files in a tree."""
        self._open(offset, tree)

    @describes("reading")
    def _open(self, offset: int, tree: bool) -> None:
        word = quoting.quote_path(self.path)
        words = ("send_tree", word) if tree else ("send_file", word, str(offset + 1))
        line = scripts.stream_command(*words)
        self._connection.reach(word)
        self._connection.retry_once(lambda: self._start(line))

    def _start(self, line: str) -> None:
        self._session = self._connection.session(line)
        enlarge_pipe(self._session.stdout)
        # like LocalTarget, fail when a missing file is opened, not when it is read
        opened = self._read_line()
        if opened == b"missing":
            self._session.close()
            raise no_such_file(self.path)
        word, *numbers = opened.split() or [b""]
        if word != b"open" or len(numbers) not in (0, 2) or not all(number.isdigit() for number in numbers):
            raise self._failure()
        count, size = (int(number) for number in numbers or (b"0", b"0"))
        self.announced = count, size

    def readable(self) -> bool:  # noqa: D102  # io.RawIOBase describes it
        return True

    @describes("reading")
    def readinto(self, buffer: Any) -> int:
        """Reads at most the size of `buffer`; returns 0 only at the end of the file."""
        if self._ended:
            return 0
        data = self._session.read(len(buffer), deadline=self._deadline())
        buffer[: len(data)] = data
        if not data:
            self._check_end()
        return len(data)

    @describes("reading")
    def copy_chunk(self, local_fd: int) -> int:
        """Copies a chunk to an open local file without passing it through Python; returns its size, 0 at the end."""
        count = self._session.receive(local_fd, CHUNK, deadline=self._deadline())
        if not count:
            self._check_end()
        return count

    def fileno(self) -> int:
        """The descriptor, for a process that reads in place of this object (gzip of a format)."""
        self._fd_shared = True
        return self._session.stdout

    @describes("reading")
    def close(self) -> None:
        """Closes the session. Raises if another process read to the end of a stream that is incomplete."""
        if self.closed:
            return
        super().close()
        try:
            # if the other process did not read everything, the rest is not needed, and its exit status does not matter
            if self._fd_shared and not self._ended and self._drained():
                self._check_end()
        finally:
            self._session.close()

    def _check_end(self) -> None:
        self._ended = True
        if self._session.wait(deadline=self._deadline()) != 0:
            raise self._failure()

    def _failure(self) -> Exception:
        status, stderr = self._wait()
        return RemoteCommandFailed(
            f"the file cannot be read: {stderr}",
            returncode=status,
            cmd="read",
            next_step="use the path of a file that the account may read",
        )

    def _drained(self) -> bool:
        """Whether the process that shares the descriptor read everything."""
        try:
            pipe = self._session.stdout
        except io.UnsupportedOperation:
            return False
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        # programs may stop reading just before the end of the stream, so wait briefly for it; then read() cannot block
        return any(event & select.POLLHUP for _, event in poller.poll(_DRAIN_TIMEOUT)) and not os.read(pipe, 1)


class RemoteWriter(_RemoteStream):
    """Standard input of a command on the host that writes a temporary file, to be moved to `path` later.

    `line` runs a function of `remote/stream.sh`, which creates `tmp_path` in `folder`. Call `finish` to learn whether
    the host wrote everything. Raises `RemoteCommandFailed` if the host cannot write there, `ConnectionLost` when the
    connection breaks.
    """

    def __init__(self, connection: Connection, line: str, folder: str, path: str):
        super().__init__(connection, path)
        self.written = 0
        self.fd_shared = False
        """Another process has the descriptor, and its bytes are not counted in `written`."""
        self._open(line, folder)

    @describes("writing")
    def _open(self, line: str, folder: str) -> None:
        # a retry creates another temporary file; the next cleanup removes the first one
        self.tmp_path = posixpath.join(folder, self._connection.retry_once(lambda: self._start(line)))

    def _start(self, line: str) -> str:
        self._session = self._connection.session(line)
        name = quoting.decode(self._read_line())
        if not name:
            self.finish()
            raise self._session.connection_error()
        return name

    def writable(self) -> bool:  # noqa: D102  # io.RawIOBase describes it
        return True

    @describes("writing")
    def write(self, data: Any) -> int:
        """Sends all of `data`."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            self._session.write(view[start : start + CHUNK], deadline=self._deadline())
        self.written += len(view)
        return len(view)

    @describes("writing")
    def copy_chunk(self, local_fd: int, offset: int, count: int) -> int:
        """Copies at most `count` bytes at `offset` of an open local file; returns their number, 0 at its end."""
        sent = self._session.send(local_fd, offset, min(count, CHUNK), deadline=self._deadline())
        self.written += sent
        return sent

    def fileno(self) -> int:
        """The descriptor, for a process that writes in place of this object (gzip of a format)."""
        self.fd_shared = True
        os.set_blocking(self._session.stdin, True)
        return self._session.stdin

    @describes("writing")
    def finish(self) -> None:
        """Ends the input and waits until the host has written it; raises if that failed."""
        self._session.close_stdin()
        status, stderr = self._wait()
        if status != 0:
            raise RemoteCommandFailed(
                f"the file cannot be written: {stderr}",
                returncode=status,
                cmd="write",
                next_step="free disk space on the host, or use a path that the account may write; no file was left",
            )

    def disconnect(self) -> None:
        """Closes the session; the temporary file keeps what has arrived."""
        self._session.close()


def enlarge_pipe(fd: int) -> None:
    """Sets the capacity of a pipe to 1 MiB if the system allows it; the default is 64 KiB. Saves context switches."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
