"""Extracts tar archives that a host sends; nothing in them is trusted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import tarfile
from typing import IO, Any, cast

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.targets.links import check_confined
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.streams import CHUNK, RemoteReader

_SLACK = 1 << 26  # bytes by which a directory may grow while it is copied
_COUNT_SLACK = 1000  # the same for the number of its files
_HEADER = 16 << 10  # bytes for each file: headers, long names and padding
_MAX_HEADER = 1 << 20  # bytes; tarfile reads the data of extended headers into memory
_BUFFER = 1 << 16  # bytes; tarfile copies its buffer for each header
_MIN_SPARSE = 1 << 20  # bytes; in larger files zeros become holes
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_NOT_SUPPORTED = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


@dataclasses.dataclass(frozen=True)
class Announced:
    """What the host announced: the number of files, and their size in bytes."""

    count: int
    size: int


class _Entry(tarfile.TarInfo):
    """A header whose errors are not mistaken for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Entry:
        try:
            entry = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]  # a block of zeros: the end
                raise
            raise _invalid(f"it cannot be parsed: {error}") from None
        if entry.size < 0 or (entry.type in _EXTENDED and entry.size > _MAX_HEADER):
            raise _invalid("it cannot be parsed: a header has an invalid size")
        return entry


class _Bounded:
    """The stream of an archive, up to a size."""

    def __init__(self, reader: RemoteReader, announced: Announced, progress: Progress):
        self._reader, self._progress, self._total = reader, progress, announced.size
        self._limit = announced.size + _SLACK + (announced.count + _COUNT_SLACK) * _HEADER
        self._received = 0

    def read(self, size: int) -> bytes:
        data = self._reader.read(size) or b""
        self._received += len(data)
        if self._received > self._limit:
            raise _exceeded()
        self._progress(min(self._received, self._total), self._total)
        return data


class Extraction:
    """Extracts the archive of a directory into the empty directory `root`, which no other account can write.

    Names outside of `root`, entries below a link, duplicates, FIFOs, sockets, devices, and more files or bytes than
    announced raise `RemoteCommandFailed`; if `confined`, also symbolic links that lead outside of `root`. Owners,
    setuid, setgid and sticky bits are ignored.
    """

    def __init__(
        self,
        reader: RemoteReader,
        root: str,
        announced: Announced,
        *,
        preserve: bool,
        progress: Progress,
        confined: bool = False,
    ):
        self._reader = reader
        self._root = root
        self._preserve = preserve
        self._stream = _Bounded(reader, announced, progress)
        self._count = announced.count + _COUNT_SLACK
        self._size = announced.size + _SLACK
        # only these are real directories, not links, and may contain others
        self._directories: dict[str, tuple[int, float] | None] = {"": None}
        # names and targets of the symbolic links to check
        self._links: list[tuple[str, str]] | None = [] if confined else None
        os.umask(umask := os.umask(0o077))
        self._umask = 0 if preserve else umask

    def run(self) -> None:
        """Extracts all of it, until the host reports that it was complete."""
        os.chmod(self._root, 0o700)
        try:
            options: dict[str, Any] = {"bufsize": _BUFFER, "encoding": "utf-8", "errors": "surrogateescape"}
            with tarfile.open(mode="r|", fileobj=cast("IO[bytes]", self._stream), tarinfo=_Entry, **options) as archive:
                while entry := archive.next():
                    # it keeps all entries, also those of a million files
                    archive.members = []  # type: ignore[attr-defined]
                    self._extract(archive, entry)
        except (tarfile.TarError, RecursionError, ValueError, OverflowError) as error:
            while self._stream.read(CHUNK):
                pass  # the host's own error, if it has one, is raised at the end
            raise _invalid(f"it cannot be parsed: {error}") from None
        while self._stream.read(CHUNK):
            pass
        check_confined(self._links or (), self._directories)
        for path, attributes in reversed(self._directories.items()):
            mode, mtime = attributes or (0o700, None)
            self._set_attributes(os.path.join(self._root, path), mode, mtime)

    def _extract(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = self._name(entry.name)
        self._count -= 1
        self._size -= entry.size if entry.isreg() else 0
        if self._count < 0 or self._size < 0:
            raise _exceeded()
        path = os.path.join(self._root, name)
        if entry.isdir():
            self._make_directory(entry, name, path)
        elif entry.issym():
            self._make_symlink(entry, name, path)
        elif entry.islnk():
            self._link(os.path.join(self._root, self._name(entry.linkname)), path)
        elif entry.isreg():
            self._write(archive, entry, path)
        else:
            raise _invalid(f"it contains a FIFO, socket or device: {entry.name!r}")

    def _name(self, name: str) -> str:
        """The path below the root. Raises for one that is outside, or not in a directory of this archive."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise _invalid(f"a path leads outside: {name!r}")
        if "/".join(parts[:-1]) not in self._directories:
            raise _invalid(f"a path is not in a directory of it: {name!r}")
        return "/".join(parts)

    def _make(self, create: Any, *arguments: Any) -> Any:
        """Calls a function that never replaces or follows anything."""
        try:
            return create(*arguments)
        except FileExistsError:
            raise _invalid(f"a name occurs twice: {arguments[-1]!r}") from None

    def _make_directory(self, entry: tarfile.TarInfo, name: str, path: str) -> None:
        if name not in self._directories:
            self._make(os.mkdir, path, 0o700)
        elif self._directories[name]:
            raise _invalid(f"a name occurs twice: {entry.name!r}")
        self._directories[name] = entry.mode & 0o777, entry.mtime

    def _make_symlink(self, entry: tarfile.TarInfo, name: str, path: str) -> None:
        self._make(os.symlink, entry.linkname, path)
        if self._links is not None:
            self._links.append((name, entry.linkname))
        if self._preserve and os.utime in os.supports_follow_symlinks:
            os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)

    def _link(self, source: str, path: str) -> None:
        if os.path.islink(source) or not os.path.isfile(source):
            raise _invalid(f"a hard link does not lead to a file of it: {path!r}")
        try:
            self._make(lambda path: os.link(source, path, follow_symlinks=False), path)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            self._size -= os.path.getsize(source)
            if self._size < 0:
                raise _exceeded() from None
            with self._make(open, path, "xb"):
                shutil.copy2(source, path, follow_symlinks=False)

    def _write(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = self._make(lambda path: os.open(path, flags, 0o600), path)
        left = entry.size
        source = cast("IO[bytes]", archive.extractfile(entry)) if left else None
        try:
            while source and left:
                data = source.read(min(left, CHUNK))
                if not data:
                    raise _invalid("it cannot be parsed: unexpected end of data")
                left -= len(data)
                if entry.size >= _MIN_SPARSE and data.count(0) == len(data):
                    os.lseek(fd, len(data), os.SEEK_CUR)
                    continue
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            if entry.size >= _MIN_SPARSE:
                os.ftruncate(fd, entry.size)
            self._set_attributes(fd, entry.mode & 0o777, entry.mtime)
        finally:
            os.close(fd)

    def _set_attributes(self, file: str | int, mode: int, mtime: float | None) -> None:
        # a file system without permissions keeps its own
        with contextlib.suppress(PermissionError):
            os.chmod(file, mode & ~self._umask)
        if self._preserve and mtime is not None:
            os.utime(file, (mtime, mtime))


def _invalid(problem: str) -> RemoteCommandFailed:
    return RemoteCommandFailed(
        f"the host sent an invalid archive: {problem}",
        cmd="send_tree",
        next_step="copy other paths; if the host's tar made it, the host or its tar is not to be trusted",
    )


def _exceeded() -> RemoteCommandFailed:
    return RemoteCommandFailed(
        "the host sent more files or bytes than it announced",
        cmd="send_tree",
        next_step="wait for the programs that write into the directory, and copy it again",
    )
