"""Files on the host as streams that say so when they break off."""

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
from luigi_sshjob.ssh.shell.session import Session

PIECE = 1 << 18  # bytes; a deadline each: a slow host is not one that does not answer
_MOMENT = 200  # milliseconds


class RemoteReader(io.RawIOBase):
    """The bytes of one remote file from `offset` on. The end is the end of the file; anything else that ends it raises.

    Raises `FileMissing` (a `FileNotFoundError` too) where there is no such file, `RemoteCommandFailed` for another
    reason not to read it, `ConnectionLost` when the connection breaks.
    """

    def __init__(self, connection: Connection, path: str, offset: int = 0, *, tree: bool = False):
        super().__init__()
        self._connection = connection
        self.host = connection.host
        self.path = path
        self._open(offset, tree)

    @describes("reading")
    def _open(self, offset: int, tree: bool) -> None:
        self._ended = self._lent = False
        word = quoting.quote_path(self.path)
        line = scripts.transfer("give_tree", word) if tree else scripts.transfer("give_file", word, str(offset + 1))
        self._connection.retry_once(lambda: self._begin(line))

    def _begin(self, line: str) -> None:
        # opened before the first byte is asked for, so that a missing file is known where LocalTarget's is;
        # in C, as _failure reads what the shell says of a file that is not there
        self._session = self._connection.session(f"LC_ALL=C; {line}")
        widen(self._session.stdout)
        if _line(self._session, self._connection) != b"open":
            raise self._failure()

    def readable(self) -> bool:
        return True

    @describes("reading")
    def readinto(self, buffer: Any) -> int:
        if self._ended:
            return 0
        data = self._session.read(len(buffer), deadline=self._connection.request_deadline())
        buffer[: len(data)] = data
        if not data:
            self._end()
        return len(data)

    @describes("reading")
    def receive(self, local: int) -> int:
        """A piece of it into an open local file at its position; how many bytes, 0 at the end."""
        count = self._session.receive(local, PIECE, deadline=self._connection.request_deadline())
        if not count:
            self._end()
        return count

    def fileno(self) -> int:
        """For a process that reads in our place (a format's gzip); `close` then tells how it ended."""
        self._lent = True
        return self._session.stdout

    @describes("reading")
    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            # what is left there nobody wants any more: however it ends, it is not too short for them
            if self._lent and not self._ended and _drained(self._session):
                self._end()
        finally:
            self._session.close()

    def _end(self) -> None:
        self._ended = True
        if self._session.wait(deadline=self._connection.request_deadline()) != 0:
            raise self._failure()

    def _failure(self) -> Exception:
        status = self._session.wait(deadline=self._connection.request_deadline())
        said = self._session.said().strip()
        if status == 255:
            return self._session.lost()
        self._session.close()
        # busybox begins it in lower case
        if any(words in said.lower() for words in ("no such file", "nonexistent", "not found")):
            return no_such_file(self.path)
        return RemoteCommandFailed(
            f"the file cannot be read: {said}",
            returncode=status,
            cmd="read",
            next_step="give the path of a file that the account may read",
        )


class RemoteWriter(io.RawIOBase):
    """Bytes into the standard input of what the host runs to write `temporary`; `finish` tells whether it did.

    `line` is one of `remote/stream.sh`, and writes in `folder` in the place of `path`. Raises `RemoteCommandFailed`
    where the host cannot write there, `ConnectionLost` when the connection breaks.
    """

    def __init__(self, connection: Connection, line: str, folder: str, path: str):
        super().__init__()
        self._connection = connection
        self.host = connection.host
        self.path = path
        self._open(line, folder)

    @describes("writing")
    def _open(self, line: str, folder: str) -> None:
        self.written = 0
        self.lent = False
        # begun twice it has another temporary file; the next cleanup removes the first one
        self.temporary = posixpath.join(folder, self._connection.retry_once(lambda: self._begin(line)))

    def _begin(self, line: str) -> str:
        """The name of the temporary file."""
        self._session = self._connection.session(line)
        name = quoting.decode(_line(self._session, self._connection))
        if not name:
            self.finish()
            raise self._session.lost()
        return name

    def writable(self) -> bool:
        return True

    @describes("writing")
    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            self._session.write(view[start : start + PIECE], deadline=self._connection.request_deadline())
        self.written += len(view)
        return len(view)

    @describes("writing")
    def send(self, local: int, offset: int, count: int) -> int:
        """At most `count` bytes of an open local file from `offset` on; how many, 0 where it has no more."""
        sent = self._session.send(local, offset, min(count, PIECE), deadline=self._connection.request_deadline())
        self.written += sent
        return sent

    def fileno(self) -> int:
        """For a process that writes in our place; its bytes are not counted."""
        self.lent = True
        os.set_blocking(self._session.stdin, True)
        return self._session.stdin

    @describes("writing")
    def finish(self) -> None:
        """All is sent: waits until the host has said that it took it. Raises where it did not."""
        self._session.close_stdin()
        status = self._session.wait(deadline=self._connection.request_deadline())
        said = self._session.said().strip()
        if status == 255:
            raise self._session.lost()
        self._session.close()
        if status != 0:
            raise RemoteCommandFailed(
                f"the file cannot be written: {said}",
                returncode=status,
                cmd="write",
                next_step="make room there, or give a path where the account may write; nothing was left there",
            )

    def cut(self) -> None:
        """Ends the session; what has arrived stays in the temporary file."""
        self._session.close()


def widen(pipe: int) -> None:
    """Lets more stand in a pipe than the usual 64 KiB, where the system allows it: less waiting for each other."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _drained(session: Session) -> bool:
    """Whether everything up to the end was taken, by whoever has the descriptor."""
    try:
        pipe = session.stdout
    except io.UnsupportedOperation:
        return False
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    # a moment for the end, as some ask for no more than they need; behind it a read does not wait
    return any(event & select.POLLHUP for _, event in poller.poll(_MOMENT)) and not os.read(pipe, 1)


def _line(session: Session, connection: Connection) -> bytes:
    """Up to a line break; what ended before is empty. Byte by byte: what follows is for whoever reads on."""
    line = b""
    while not line.endswith(b"\n"):
        byte = session.read(1, deadline=connection.request_deadline())
        if not byte:
            return b""
        line += byte
    return line[:-1]
