"""Files to the host and back; a transfer goes on from where its connection broke."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

from luigi_sshjob.error_context import error_context, no_such_file
from luigi_sshjob.errors import ConnectionLost, LocalFileError, RemoteCommandFailed
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell import errors
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.streams import PIECE, RemoteReader, RemoteWriter

Result = TypeVar("Result")

_BLOCK = 1 << 16  # bytes; resume_file in remote/stream.sh counts in them
_HOLE = 1 << 23  # bytes; smaller holes are sent as zeros, which takes less time than another session
_STUCK = 3  # connections in a row that may break before a byte has moved
_MEANWHILE = "the transfer goes on from where it was"


@dataclasses.dataclass(frozen=True)
class FileStat:
    """What a host says of a file: bytes, seconds of 1970, permissions, whether it has holes."""

    size: int
    mtime: int | None
    mode: int | None
    sparse: bool
    state: str

    @classmethod
    def of(cls, connection: Connection, path: str) -> FileStat:
        """Raises `FileNotFoundError` where there is none."""
        with error_context(f"looking at {path}", host=connection.host):
            try:
                said = connection.request("fs_stat", quoting.quote_path(path)).text
            except RemoteCommandFailed as error:
                if errors.said(error) == "no-such-file":
                    raise no_such_file(path) from None
                raise
        size, mtime, mode, blocks, state = said.split(maxsplit=4)
        if mtime == "-":
            return cls(int(size), None, None, False, state)
        return cls(int(size), int(mtime), int(mode, 8), int(blocks) * 512 < int(size), state)

    @property
    def inode(self) -> str:
        """Stays the same while the file is only written to."""
        return self.state.split()[0]


class _Transfer:
    """One file at `path` on the host, which is waited for."""

    def __init__(self, connection: Connection, path: str, progress: Progress):
        self._connection = connection
        self._path = path
        self._progress = progress
        self._patience = Retry(connection.settings.unreachable_timeout)

    def _patient(self, request: Callable[[], Result]) -> Result:
        return self._patience.call(request, _MEANWHILE)

    def _facts(self, path: str) -> FileStat:
        return self._patient(lambda: FileStat.of(self._connection, path))


class Upload(_Transfer):
    """A local file on its way to `path`: a temporary file there until `commit`, nobody else's to read if `private`."""

    def __init__(self, connection: Connection, path: str, progress: Progress, *, private: bool = False):
        super().__init__(connection, path, progress)
        self._private = private
        self._folder = posixpath.dirname(path)
        self._temporary = ""
        self._size = self._stuck = 0

    def run(self, local: IO[bytes], size: int) -> None:
        """Sends `size` bytes, without the holes of a sparse file."""
        self._size = size
        end = 0
        for start, end in _segments(local, size):
            self._send(local, start, end)
        if end < size:
            temporary = quoting.quote_path(self._temporary)
            self._patient(lambda: self._connection.request("fs_stretch", temporary, size))
        self._progress(size, size)

    def commit(self, size: int, mode: str = "", mtime: float | None = None, sha256: str = "") -> None:
        """Puts the file in its place. Raises `RemoteCommandFailed` where it is not what was sent."""
        temporary = quoting.quote_path(self._temporary)
        if sha256:
            self._patient(lambda: compare(self._connection, self._temporary, sha256))
        words = (mode, "" if mtime is None else time.strftime("%Y%m%d%H%M.%S", time.gmtime(mtime)))
        target = quoting.quote_path(self._path)
        self._patient(lambda: self._connection.request("fs_commit", temporary, target, size, *words))

    def discard(self) -> None:
        """Nothing stays there."""
        if self._temporary:
            with contextlib.suppress(Exception):  # the error that led here is the one to report
                self._connection.request("fs_discard", quoting.quote_path(self._temporary))

    def _send(self, local: IO[bytes], start: int, end: int) -> None:
        reached = start
        while True:
            sink, position = self._patient(lambda: self._open(reached))  # noqa: B023
            try:
                self._fill(sink, local, position, end)
                return
            except ConnectionLost as error:
                reached = self._reached(reached, end, error)
            finally:
                sink.cut()

    def _open(self, offset: int) -> tuple[RemoteWriter, int]:
        """Where bytes from `offset` on go, or from a bit before."""
        if not self._temporary:
            folder = quoting.quote_path(self._folder or ".")
            sink = self._sink("take_file", folder, *(("private",) if self._private else ()))
            self._temporary = sink.temporary
            if not offset:
                return sink, 0
            sink.finish()
        blocks = offset // _BLOCK
        return self._sink("resume_file", quoting.quote_path(self._temporary), str(blocks)), blocks * _BLOCK

    def _sink(self, *words: str) -> RemoteWriter:
        return RemoteWriter(self._connection, scripts.transfer(*words), self._folder, self._path)

    def _fill(self, sink: RemoteWriter, local: IO[bytes], position: int, end: int) -> None:
        while position < end:
            sent = sink.send(local.fileno(), position, end - position)
            if not sent:
                raise LocalFileError(
                    f"a file of this machine became shorter while it was copied: {local.name}",
                    next_step="let whoever writes it finish, and copy it again",
                )
            position += sent
            self._progress(position, self._size)
        sink.finish()

    def _reached(self, before: int, end: int, error: ConnectionLost) -> int:
        """What the host has of it; raises the error of a connection that breaks again and again without a byte."""
        reached = max(before, min(self._facts(self._temporary).size, end))
        self._stuck = 0 if reached > before else self._stuck + 1
        if self._stuck > _STUCK:
            raise error
        return reached


class Download(_Transfer):
    """A file of the host on its way into an open local one."""

    def run(self, local: IO[bytes]) -> FileStat:
        """All of it, on from where it was when the connection breaks; from the beginning where it has changed since."""
        facts, reached, stuck = self._facts(self._path), 0, 0
        while True:
            begun = reached
            reader = self._patient(lambda: self._open(begun))  # noqa: B023
            try:
                with reader:
                    local.seek(begun)
                    for count in _copied(reader, local, facts.sparse):
                        reached += count
                        self._progress(reached, facts.size)
            except ConnectionLost:
                stuck = 0 if reached > begun else stuck + 1
                if stuck > _STUCK:
                    raise
                unbroken = False
            else:
                unbroken = True
            # asked while no session is held: there may be only one
            now = self._facts(self._path) if begun or not unbroken else facts
            same = now.inode == facts.inode if unbroken else now == facts
            if unbroken and same:
                local.truncate(reached)  # also for a hole at its end
                return facts
            if not same:
                # nothing of what was there before is to be seen below the holes of what is there now
                facts, reached = now, 0
                local.truncate(0)

    def _open(self, offset: int) -> RemoteReader:
        return RemoteReader(self._connection, self._path, offset)


def _copied(reader: RemoteReader, local: IO[bytes], sparse: bool) -> Iterator[int]:
    """Copies to the end, holes as holes; the bytes of each piece."""
    while not sparse and (count := reader.receive(local.fileno())):
        yield count
    buffer = bytearray(PIECE)
    zeros = bytes(PIECE)
    while sparse and (count := reader.readinto(buffer)):
        if buffer.startswith(zeros[:count]):
            local.seek(count, os.SEEK_CUR)
        else:
            view = memoryview(buffer)[:count]
            while view:
                view = view[local.write(view) :]
        yield count


def sha256(local: IO[bytes]) -> str:
    """Of the whole file."""
    local.seek(0)
    digest = hashlib.sha256()
    while data := local.read(PIECE):
        digest.update(data)
    return digest.hexdigest()


def compare(connection: Connection, path: str, digest: str) -> None:
    """Raises `RemoteCommandFailed` where the file there has another sha256 than `digest`."""
    # may take long: nobody else should have to wait for it
    said = connection.request("fs_sha256", quoting.quote_path(path), dedicated_session=True).text
    if digest not in said:
        raise RemoteCommandFailed(
            f"the file is not the same on both sides: {path}: its sha256 there is {said.split()[0]}, here {digest}",
            host=connection.host,
            next_step="copy it again; should it stay so, check the disks and the memory of both machines",
        )


def _segments(local: IO[bytes], size: int) -> list[tuple[int, int]]:
    """The parts of a file that hold data; one at least."""
    found: list[tuple[int, int]] = []
    end = 0
    try:
        while end < size:
            start = os.lseek(local.fileno(), end, os.SEEK_DATA)
            end = min(size, os.lseek(local.fileno(), start, os.SEEK_HOLE))
            if found and start - found[-1][1] < _HOLE:
                start = found.pop()[0]
            found.append((start, end))
    except (AttributeError, OSError) as error:
        # ENXIO: only a hole is left. Anything else: nobody knows of holes here.
        if getattr(error, "errno", None) != errno.ENXIO:
            return [(0, size)]
    return found or [(0, 0)]
