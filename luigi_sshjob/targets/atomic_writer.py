"""A file that is written on a host, and is in its place whole or not at all."""

from __future__ import annotations

import contextlib
import io
import posixpath
from typing import Any

from luigi_sshjob.error_context import describes
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.targets.streams import RemoteWriter


class AtomicRemoteFile(io.BufferedWriter):
    """A new file that appears at `path` when it is closed, whole, or not at all.

    An exception inside a `with` block, `abort`, or letting go of an unclosed writer leaves nothing at
    `path`. `close` raises `RemoteCommandFailed` or `ConnectionLost` where the file is not in its place.
    """

    def __init__(self, connection: Connection, path: str):
        self._connection = connection
        self.host = connection.host
        self.path = path
        folder = posixpath.dirname(path)
        self._writer = RemoteWriter(
            connection, scripts.transfer("take_file", quoting.quote_path(folder or ".")), folder, path
        )
        self.tmp_path = self._writer.temporary
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
        # the temporary file goes with the next request, as no connection is opened here
        if not getattr(self, "_done", True):
            self._done = True
            self._writer.cut()
            self._connection.request_later("fs_discard", quoting.quote_path(self.tmp_path))
            self._detach()

    @describes("writing")
    def _commit(self) -> None:
        source, target = quoting.quote_path(self.tmp_path), quoting.quote_path(self.path)
        if self._writer.lent:
            self._connection.request("fs_move", source, target, idempotent=False)
        else:
            self._connection.request("fs_commit", source, target, self._writer.written)

    def _discard(self) -> None:
        self._writer.cut()
        with contextlib.suppress(Exception):  # the error that led here is the one to report
            self._connection.request("fs_discard", quoting.quote_path(self.tmp_path))

    def _detach(self) -> None:
        # the buffer must not be flushed to a session that is over
        with contextlib.suppress(Exception):
            super().close()
