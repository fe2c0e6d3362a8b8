"""Atomic writes to files on a host."""

from __future__ import annotations

import contextlib
import io
import posixpath
import secrets
from types import TracebackType

from luigi_sshjob.error_context import describes
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.targets.streams import RemoteWriter


class AtomicRemoteFile(io.BufferedWriter):
    """A new file that replaces `path` when it is closed.

    An exception inside a `with` block, `abort()`, or dropping an unclosed object leaves `path` as it was. `close()`
    raises `RemoteCommandFailed` or `ConnectionLost` if the file was not put in place.
    """

    def __init__(self, connection: Connection, path: str):
        self._connection = connection
        self.host = connection.host
        self.path = path
        folder = posixpath.dirname(path)
        line = scripts.stream_command("receive_file", quoting.quote_path(folder or "."), secrets.token_hex(16))
        self._writer = RemoteWriter(connection, line, folder, path)
        self.tmp_path = self._writer.tmp_path
        self._done = False
        super().__init__(self._writer, 1 << 16)

    def close(self) -> None:
        """Replaces `path` with the new file."""
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
            self._close_buffer()

    def abort(self) -> None:
        """Discards the new file."""
        if not self._done:
            self._done = True
            self._discard()
            self._close_buffer()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if not getattr(self, "_done", True):
            self._done = True
            self._writer.disconnect()
            # a destructor must not open a connection
            self._connection.request_later("fs_discard", quoting.quote_path(self.tmp_path))
            self._close_buffer()

    @describes("writing")
    def _commit(self) -> None:
        source, target = quoting.quote_path(self.tmp_path), quoting.quote_path(self.path)
        if self._writer.fd_shared:
            self._connection.request("fs_commit", source, target, "", idempotent=False)
        else:
            self._connection.request("fs_commit", source, target, self._writer.written)

    def _discard(self) -> None:
        self._writer.disconnect()
        with contextlib.suppress(Exception):  # report the error that led here
            self._connection.request("fs_discard", quoting.quote_path(self.tmp_path))

    def _close_buffer(self) -> None:
        # flushing fails, because the session is closed
        with contextlib.suppress(Exception):
            super().close()
