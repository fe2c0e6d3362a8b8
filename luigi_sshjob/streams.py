"""Files on the host as streams that say so when they break off."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from luigi_sshjob import shell
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.ssh.connection import Connection

_CHUNK = 1 << 18  # bytes


class RemoteReader(io.RawIOBase):
    """The bytes of one remote file. The end is the end of the file; anything else that ends it raises.

    Raises `FileNotFoundError` where there is no such file, `RemoteCommandFailed` for another reason not to
    read it, `ConnectionLost` when the connection breaks.
    """

    def __init__(self, connection: Connection, path: str):
        super().__init__()
        self._connection = connection
        self._path = path
        self._ended = self._lent = False
        # opened before the first byte is asked for, so that a missing file is known where LocalTarget's is
        word = shell.quote_path(path)
        # in C, as _failure reads what the shell says of a file that is not there
        self._session = connection.session(f"LC_ALL=C; exec 3<{word} && echo open && exec cat <&3")
        if self._read(5) != b"open\n":
            raise self._failure()

    def _read(self, size: int) -> bytes:
        return self._session.read(size, deadline=self._connection.request_deadline())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._ended:
            return 0
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        if not data:
            self._ended = True
            if self._session.wait(deadline=self._connection.request_deadline()) != 0:
                raise self._failure()
        return len(data)

    def fileno(self) -> int:
        """For a process that reads in our place (a format's gzip); `close` then tells how it ended."""
        self._lent = True
        return self._session.stdout

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        self._session.close()
        if self._lent and self._session.process.returncode == 255:
            raise self._session.lost()

    def _failure(self) -> Exception:
        status = self._session.wait(deadline=self._connection.request_deadline())
        said = self._session.said().strip()
        if status == 255:
            return self._session.lost()
        self._session.close()
        if "No such file" in said or "nonexistent" in said or "not found" in said:
            return FileNotFoundError(2, f"no such file on {self._connection.host}", self._path)
        return RemoteCommandFailed(
            f"{self._path} cannot be read: {said}", host=self._connection.host, returncode=status, cmd="cat"
        )


class RemoteSink(io.RawIOBase):
    """Bytes into the standard input of a line that the host runs to write `path`; `finish` tells whether it did."""

    def __init__(self, connection: Connection, line: str, path: str):
        super().__init__()
        self._connection = connection
        self._session = connection.session(line)
        self._path = path
        self.written = 0
        self.lent = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK):
            # a deadline each: a slow host is not one that does not answer
            self._session.write(bytes(view[start : start + _CHUNK]), deadline=self._connection.request_deadline())
        self.written += len(view)
        return len(view)

    def fileno(self) -> int:
        """For a process that writes in our place; its bytes are not counted."""
        self.lent = True
        os.set_blocking(self._session.stdin, True)
        return self._session.stdin

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
                f"{self._path} cannot be written: {said}",
                host=self._connection.host,
                returncode=status,
                cmd="write",
            )

    def cut(self) -> None:
        """Ends the session; what has arrived stays in the temporary file."""
        self._session.close()


class AtomicRemoteWriter(io.BufferedWriter):
    """A new file that appears at `path` when it is closed, whole, or not at all.

    An exception inside a `with` block, `abort`, or letting go of an unclosed writer leaves nothing at
    `path`. `close` raises `RemoteCommandFailed` or `ConnectionLost` where the file is not in its place.
    """

    def __init__(self, connection: Connection, path: str, tmp_path: str, executable: bool = False):
        self._connection = connection
        word = shell.quote_path(tmp_path)
        made = f"true >{word} && chmod +x {word} && " if executable else ""
        self._writer = RemoteSink(connection, f"{made}exec cat >{word}", tmp_path)
        self.path = path
        self.tmp_path = tmp_path
        self._done = False
        super().__init__(self._writer, 1 << 16)

    def close(self) -> None:
        """Puts the file in its place."""
        if self._done:
            return
        self._done = True
        try:
            super().flush()
            self._writer.finish()
            self._commit()
        except BaseException:
            self._discard()
            raise
        finally:
            self._detach()

    def abort(self) -> None:
        """Leaves nothing behind."""
        if not self._done:
            self._done = True
            self._discard()
            self._detach()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # no connection is opened here: the temporary file is left to the next cleanup
        if not getattr(self, "_done", True):
            self._done = True
            self._writer.cut()
            self._detach()

    def _commit(self) -> None:
        source, target = shell.quote_path(self.tmp_path), shell.quote_path(self.path)
        if self._writer.lent:
            self._connection.check("fs_move", source, target, repeatable=False)
        else:
            self._connection.check("fs_commit", source, target, self._writer.written)

    def _discard(self) -> None:
        self._writer.cut()
        with contextlib.suppress(Exception):  # the error that led here is the one to report
            self._connection.check("fs_discard", shell.quote_path(self.tmp_path))

    def _detach(self) -> None:
        # the buffer must not be flushed to a session that is over
        with contextlib.suppress(Exception):
            super().close()
