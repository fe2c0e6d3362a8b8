"""Local directories as archives that are the same for the same content, and of which any part can be read."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence

from luigi_sshjob.targets.source import Version, changed, not_regular, open_regular, version_of
from luigi_sshjob.targets.streams import CHUNK, RemoteWriter

_RECORD = 10240  # bytes


@dataclasses.dataclass(frozen=True)
class Member:
    """A file, directory or link of an archive, with the version that its content must have."""

    path: str
    name: str
    version: Version
    link: str | None = None

    @classmethod
    def of(cls, path: str, name: str) -> Member:
        """The member as it is now. Raises an `OSError` if it does not exist."""
        status = os.lstat(path)
        link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
        return cls(path, name, (*version_of(status), status.st_mode), link)

    @property
    def is_directory(self) -> bool:
        """Whether it is one, and not a link to one."""
        return stat.S_ISDIR(self.version[-1])

    @property
    def changed_at(self) -> float:
        """Its last change, in seconds since 1970."""
        return max(self.version[3:5]) / 1e9


def members_of(root: str) -> tuple[Member, ...]:
    """All that a directory contains, and the directory itself."""
    return tuple(Member.of(path, name) for path, name in walk(os.path.realpath(root)))


def version_of_all(members: Sequence[Member]) -> str:
    """Differs when one of them was replaced or written to."""
    digest = hashlib.sha256()
    for member in members:
        digest.update(ascii((member.name, member.version, member.link)).encode())
    return digest.hexdigest()


class TreeSource:
    """An archive of members: the same bytes for the same names, contents, x bits and links.

    Raises `LocalFileError` for a FIFO, socket or device, and when a file changes after the archive was planned. Owners,
    times and other permissions are not part of it; a hard link becomes a file of its own.
    """

    def __init__(self, name: str, members: Sequence[Member]):
        self.name = name
        self._members = members
        self._starts: list[int] = []
        size = 0
        for member in members:
            self._starts.append(size)
            entry = _entry(member)
            size += len(_header(entry)) + entry.size + -entry.size % tarfile.BLOCKSIZE
        self._end = size
        self.size = size + trailer_size(size)
        self._position = -1
        self._rest = b""
        self._stream: Iterator[bytes] = iter(())

    def segments(self) -> list[tuple[int, int]]:
        """One, as the archive has no holes."""
        return [(0, self.size)]

    def send(self, writer: RemoteWriter, position: int, count: int) -> int:
        """Reads on where the last call has ended, or at `position` again."""
        if position != self._position:
            self._position, self._rest, self._stream = position, b"", self.read(position)
        data = self._rest or next(self._stream, b"")
        # until it was written: the connection may break
        self._position = -1
        sent = writer.write(data[:count])
        self._rest, self._position = data[count:], position + sent
        return sent

    def read(self, position: int = 0) -> Iterator[bytes]:
        """The bytes from `position` on, in chunks."""
        chunk = bytearray()
        for data in self._pieces(position):
            chunk += data
            if len(chunk) >= CHUNK:
                yield bytes(chunk)
                chunk.clear()
        if chunk:
            yield bytes(chunk)

    def _pieces(self, position: int) -> Iterator[bytes]:
        first = bisect.bisect_right(self._starts, position) - 1
        skip = position - self._starts[first]
        for member in self._members[first:]:
            entry = _entry(member)
            header = _header(entry)
            if skip < len(header):
                yield header[skip:]
            skip = max(0, skip - len(header))
            if entry.isreg():
                padded = entry.size + -entry.size % tarfile.BLOCKSIZE
                if skip < entry.size:
                    yield from _content(member, skip)
                yield bytes(padded - max(skip, entry.size) if skip < padded else 0)
                skip = max(0, skip - padded)
        yield bytes(self.size - max(self._end, position))


def _entry(member: Member) -> tarfile.TarInfo:
    mode = member.version[-1]
    entry = tarfile.TarInfo(member.name)
    entry.mode = 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644
    if stat.S_ISDIR(mode):
        entry.type = tarfile.DIRTYPE
    elif member.link is not None:
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, member.link, 0o777
    elif stat.S_ISREG(mode):
        entry.size = member.version[2]
    else:
        raise not_regular(member.path)
    return entry


def _header(entry: tarfile.TarInfo) -> bytes:
    # busybox does not know the pax format
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def trailer_size(size: int) -> int:
    """The number of zeros after the last member of an archive that has `size` bytes so far; see tar(5)."""
    return 1024 + -(size + 1024) % _RECORD


def walk(root: str) -> Iterator[tuple[str, str]]:
    """Each path in a directory with its name in the archive, sorted, directories before their content."""
    pending = [(root, ".")]
    while pending:
        folder, name = pending.pop()
        yield folder, name
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{name}/{entry.name}"))
                else:
                    yield entry.path, f"{name}/{entry.name}"


def _content(member: Member, skip: int) -> Iterator[bytes]:
    """The content of a file from there on. Raises `LocalFileError` if the file has changed."""
    left = member.version[2] - skip
    with open_regular(member.path, follow=False) as file:
        file.seek(skip)
        while left:
            data = file.read(min(left, CHUNK))
            if not data:
                raise changed(member.path)
            left -= len(data)
            yield data
        if version_of(os.fstat(file.fileno())) != member.version[:-1]:
            raise changed(member.path)
