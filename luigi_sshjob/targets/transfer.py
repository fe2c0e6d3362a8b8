"""Transfers of single files, which resume after the connection broke."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import time
from collections.abc import Callable, Iterator
from typing import IO, ParamSpec, TypeVar

from luigi_sshjob.errors import ConnectionLost, LocalFileError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.commands import FileCommands, FileStat
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.source import Source
from luigi_sshjob.targets.streams import CHUNK, RemoteReader, RemoteWriter

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_BLOCK = 1 << 16  # bytes; the unit of resume_file in remote/stream.sh
_MAX_STALLS = 3  # connections that break in a row without any progress


class _Transfer:
    """A transfer of the file at `path` on the host; waits while the host is unreachable."""

    def __init__(self, commands: FileCommands, path: str, progress: Progress):
        self._commands = commands
        self._connection = commands.connection
        self._path = path
        self._progress = progress
        self._retry = Retry(self._connection.settings.unreachable_timeout)
        self._stalls = 0

    def _retrying(
        self, request: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        return self._retry.call(lambda: request(*args, **kwargs), "the transfer resumes where it stopped")

    def _count_stall(self, error: ConnectionLost, *, progressed: bool) -> None:
        """Raises `error` if connections keep breaking without progress."""
        self._stalls = 0 if progressed else self._stalls + 1
        if self._stalls > _MAX_STALLS:
            raise error


class Upload(_Transfer):
    """A local file on its way to `path`: a temporary file until `commit`, readable only by its owner if `private`."""

    def __init__(self, commands: FileCommands, path: str, progress: Progress, *, private: bool = False):
        super().__init__(commands, path, progress)
        self._private = private
        self._folder = posixpath.dirname(path)
        self.tmp_path = ""
        """The path on the host, once something was sent."""
        self._size = 0

    def run(self, source: Source) -> None:
        """Sends all of it; skips the holes of a sparse file."""
        self._size = source.size
        end = 0
        for start, end in source.segments():
            self._send(source, start, end)
        if end < self._size:
            self._retrying(self._connection.request, "fs_stretch", quoting.quote_path(self.tmp_path), self._size)
        self._progress(self._size, self._size)

    def commit(self, size: int, mode: str = "", mtime: float | None = None, sha256: str = "") -> None:
        """Moves the file into place. Raises `RemoteCommandFailed` if size or sha256 differ."""
        if sha256:
            self._retrying(self._commands.check_sha256, self.tmp_path, sha256)
        options = (mode, "" if mtime is None else time.strftime("%Y%m%d%H%M.%S", time.gmtime(mtime)))
        paths = quoting.quote_path(self.tmp_path), quoting.quote_path(self._path)
        self._retrying(self._connection.request, "fs_commit", *paths, size, *options)

    def discard(self) -> None:
        """Removes the temporary file."""
        if self.tmp_path:
            with contextlib.suppress(Exception):  # report the error that led here
                self._connection.request("fs_discard", quoting.quote_path(self.tmp_path))

    def _send(self, source: Source, start: int, end: int) -> None:
        offset = start
        while True:
            writer, position = self._retrying(self._open, offset)
            try:
                self._fill(writer, source, position, end)
                return
            except ConnectionLost as error:
                arrived = self._retrying(self._commands.stat, self.tmp_path).size
                previous, offset = offset, max(offset, min(arrived, end))
                self._count_stall(error, progressed=offset > previous)
            finally:
                writer.disconnect()

    def _open(self, offset: int) -> tuple[RemoteWriter, int]:
        """Opens the temporary file at the last multiple of `_BLOCK` up to `offset`, and returns that position."""
        if not self.tmp_path:
            options = ("private",) if self._private else ()
            folder = quoting.quote_path(self._folder or ".")
            writer = self._writer("receive_file", folder, secrets.token_hex(16), *options)
            self.tmp_path = writer.tmp_path
            if not offset:
                return writer, 0
            writer.finish()
        blocks = offset // _BLOCK
        return self._writer("resume_file", quoting.quote_path(self.tmp_path), str(blocks)), blocks * _BLOCK

    def _writer(self, *words: str) -> RemoteWriter:
        return RemoteWriter(self._connection, scripts.stream_command(*words), self._folder, self._path)

    def _fill(self, writer: RemoteWriter, source: Source, position: int, end: int) -> None:
        while position < end:
            sent = source.send(writer, position, end - position)
            if not sent:
                raise LocalFileError(
                    f"a local file was truncated while it was copied: {source.name}",
                    next_step="wait for the program that writes the file, and copy it again",
                )
            position += sent
            self._progress(position, self._size)
        writer.finish()


class Download(_Transfer):
    """A file of the host on its way into an open local file."""

    def run(self, local: IO[bytes]) -> FileStat:
        """Copies the whole file; resumes after the connection broke, and starts over if the file has changed."""
        stat, offset = self._retrying(self._commands.stat, self._path), 0
        while True:
            start = offset
            reader = self._retrying(RemoteReader, self._connection, self._path, start)
            complete = True
            try:
                with reader:
                    local.seek(start)
                    for count in _copy_chunks(reader, local, stat.sparse):
                        offset += count
                        self._progress(offset, stat.size)
            except ConnectionLost as error:
                self._count_stall(error, progressed=offset > start)
                complete = False
            # after the session has been closed, because the host may allow only one
            current = self._retrying(self._commands.stat, self._path) if start or not complete else stat
            unchanged = current.inode == stat.inode if complete else current == stat
            if complete and unchanged:
                local.truncate(offset)  # extends the file if it ends in a hole
                return stat
            if not unchanged:
                stat, offset = current, 0
                # holes of the new content must not expose the old one
                local.truncate(0)


def _copy_chunks(reader: RemoteReader, local: IO[bytes], sparse: bool) -> Iterator[int]:
    """Copies up to the end, chunks of zeros as holes if `sparse`; yields the size of each chunk."""
    while not sparse and (count := reader.copy_chunk(local.fileno())):
        yield count
    buffer = bytearray(CHUNK)
    zeros = bytes(CHUNK)
    while sparse and (count := reader.readinto(buffer)):
        if buffer.startswith(zeros[:count]):
            local.seek(count, os.SEEK_CUR)
        else:
            view = memoryview(buffer)[:count]
            while view:
                view = view[local.write(view) :]
        yield count
