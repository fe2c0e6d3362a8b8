"""Local files as bytes to send, from any position on, so that a transfer can be resumed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import IO, Protocol

from luigi_sshjob.errors import LocalFileError
from luigi_sshjob.targets.digests import chunks
from luigi_sshjob.targets.streams import RemoteWriter

_MIN_HOLE = 1 << 23  # bytes; smaller holes are sent as zeros, which takes less time than another session

Version = tuple[int, ...]
"""Device, inode, size and times: differs when the file was replaced or written to."""


class Source(Protocol):
    """`size` bytes that are sent to a host."""

    name: str
    size: int

    def read(self) -> Iterator[bytes]:
        """All bytes, in chunks."""

    def segments(self) -> list[tuple[int, int]]:
        """The ranges that are not holes, at least one."""

    def send(self, writer: RemoteWriter, position: int, count: int) -> int:
        """Sends at most `count` bytes from `position` on, and returns how many; 0 if the file has become shorter."""


def open_regular(path: str, *, follow: bool = True) -> IO[bytes]:
    """Opens a local file for reading. Raises `LocalFileError` for a FIFO, socket or device, which could block."""
    # before the file is opened too, because opening a device may have an effect
    if follow and not stat.S_ISREG(os.stat(path).st_mode):
        raise not_regular(path)
    file = os.fdopen(
        os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)), "rb", 0
    )
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise not_regular(path)
    return file


def not_regular(path: str) -> LocalFileError:
    """The error for a local file that cannot be copied."""
    return LocalFileError(
        f"not a regular file, directory or link: {path}",
        next_step="remove the FIFO, socket or device, or copy other paths",
    )


def version_of(status: os.stat_result) -> Version:
    """The version of a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def changed(path: str) -> LocalFileError:
    """The error for a local file that was written to while it was copied."""
    return LocalFileError(
        f"a local file changed while it was copied: {path}",
        next_step="wait for the program that writes the file, and run it again",
    )


class FileSource:
    """The content of an open file."""

    def __init__(self, local: IO[bytes], size: int):
        self._local = local
        self.name = str(local.name)
        self.size = size

    def read(self) -> Iterator[bytes]:
        """All bytes, in chunks."""
        return chunks(self._local)

    def segments(self) -> list[tuple[int, int]]:
        """The ranges between the holes of a sparse file."""
        segments: list[tuple[int, int]] = []
        end = 0
        try:
            while end < self.size:
                start = os.lseek(self._local.fileno(), end, os.SEEK_DATA)
                end = min(self.size, os.lseek(self._local.fileno(), start, os.SEEK_HOLE))
                if segments and start - segments[-1][1] < _MIN_HOLE:
                    start = segments.pop()[0]
                segments.append((start, end))
        except (AttributeError, OSError) as error:
            # ENXIO: the rest is a hole; otherwise the system or file system does not report holes
            if getattr(error, "errno", None) != errno.ENXIO:
                return [(0, self.size)]
        return segments or [(0, 0)]

    def send(self, writer: RemoteWriter, position: int, count: int) -> int:
        """Without passing the bytes through Python."""
        return writer.copy_chunk(self._local.fileno(), position, count)
