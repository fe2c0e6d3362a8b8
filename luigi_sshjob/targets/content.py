"""Digests that identify the content of local files and directories."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from luigi_sshjob.targets.digests import cksum, sha256
from luigi_sshjob.targets.source import FileSource, Source, changed, open_regular, version_of
from luigi_sshjob.targets.tree import Member, TreeSource, members_of, version_of_all

_SETTLED = 2.0  # seconds; a file that was changed more recently may change again without another time (FAT counts in 2)


class Content:
    """A local file or directory, as it was when this object was made; or an archive of `chosen` files of a directory.

    Raises an `OSError` if it does not exist or cannot be read, and `LocalFileError` for a FIFO, socket or device.
    """

    def __init__(self, path: str, chosen: Sequence[Member] | None = None):
        self.path = path
        self.title = f"the {'input' if chosen is None else 'project'} {path}"
        self._chosen = chosen
        status = os.stat(path)
        self._size = status.st_size
        self._is_directory = stat.S_ISDIR(status.st_mode)
        self.members: tuple[Member, ...] = ()
        if self._is_directory:
            self.members = members_of(path) if chosen is None else tuple(chosen)
        self._version: object = version_of_all(self.members) if self._is_directory else version_of(status)
        changed_at = max((each.changed_at for each in self.members), default=max(status.st_mtime, status.st_ctime))
        self.settled = time.time() - changed_at > _SETTLED
        """Whether any later change is certain to show."""
        if self._is_directory:
            # an archive of chosen files stays one on the host: a claim links it with one link, and each job extracts it
            self._suffix = ".d" if chosen is None else ""
        else:
            self._suffix = ".x" if status.st_mode & stat.S_IXUSR else ""
        self.digest = self._known_digest()

    @property
    def entry(self) -> str:
        """Its name in the cache of a host, see remote/server/cache.sh."""
        return f"{self.digest}{self._suffix}"

    @contextlib.contextmanager
    def source(self) -> Iterator[Source]:
        """The bytes to send. Raises `LocalFileError` if they are not those of the digest any more."""
        if self._is_directory:
            yield TreeSource(self.path, self.members)
            # its files were compared when they were read; this finds those that are new
            if self._members_now() != self.members:
                raise changed(self.path)
            return
        with open_regular(self.path) as file:
            self._check(file)
            yield FileSource(file, self._size)
            self._check(file)

    def cksum(self) -> str:
        """What POSIX cksum prints: a CRC and the size in bytes."""
        return cksum(self._read())

    def _known_digest(self) -> str:
        key = self._suffix, self.path, self._version
        # several tasks with the same input: one of them reads it
        with _digests_lock:
            digest = _digests.get(key)
            if digest is None:
                digest = sha256(self._read())
                if self.settled:
                    _digests[key] = digest
            return digest

    def _members_now(self) -> tuple[Member, ...]:
        if self._chosen is None:
            return members_of(self.path)
        return tuple(Member.of(each.path, each.name) for each in self._chosen)

    def _check(self, file: IO[bytes]) -> None:
        if version_of(os.fstat(file.fileno())) != self._version:
            raise changed(self.path)

    def _read(self) -> Iterator[bytes]:
        with self.source() as source:
            yield from source.read()


_digests: dict[object, str] = {}
_digests_lock = threading.Lock()


def _after_fork() -> None:
    global _digests_lock
    _digests_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
