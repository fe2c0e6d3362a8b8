"""Local copies of files and directories of hosts, which are used again while those have not changed.

Below $XDG_CACHE_HOME/luigi-sshjob/copies each path of a host has a directory, with a lock and its copies. A copy
appears whole, and is never changed or replaced, because a program may be using it: a new version is another copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from luigi_sshjob.error_context import translate_local_file_errors
from luigi_sshjob.errors import LocalFileError, RemoteCommandFailed
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.local.file_lock import FileLock, WaitLogger
from luigi_sshjob.targets.cached_copy import CachedCopy, Record, content_path, local_state, protect
from luigi_sshjob.targets.commands import FileCommands, FileVersion
from luigi_sshjob.targets.copy import Copy, no_checksum_of_directory
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.temp_files import sweep, temporary_path

_LOCK = "lock"
_TRIES = 3  # for a file that changes while it is copied
_KEPT = 7 * 24 * 3600.0  # seconds since the last use of a copy, when a newer version is copied


@dataclasses.dataclass(frozen=True)
class LocalCopies:
    """The local copies of one path of a host."""

    commands: FileCommands
    path: str
    progress: Progress

    def localize(self, *, checksum: bool) -> str:
        """Returns the path of a copy of the current content; see `RemoteFileSystem.localize`."""
        version = self.commands.version(self.path)
        if version.is_directory and checksum:
            raise no_checksum_of_directory(self.path)
        with _locked(self._directory, self._waiting_message) as waited:
            if waited:
                # meanwhile another process may have copied a newer version
                version = self.commands.version(self.path)
            copy = self._find(version, checksum) or self._fetch(version, checksum)
            copy.mark_used()
            return copy.content

    @property
    def _host(self) -> str:
        return self.commands.connection.host

    @property
    def _directory(self) -> Path:
        key = hashlib.sha256(quoting.encode(f"{self._host}\0{self.path}")).hexdigest()[:32]
        return copies_directory() / key

    def _waiting_message(self) -> str:
        return f"{self._host}: waiting for another process that makes a local copy of {self.path}"

    def _find(self, version: FileVersion, checksum: bool) -> CachedCopy | None:
        """A copy with the current content; by its digest if that cannot be known from the version."""
        copies = _copies_in(self._directory)
        same = [copy for copy in copies if copy.record.version == version.text]
        if not checksum:
            for copy in same:
                if copy.record.settled and copy.is_unchanged():
                    return copy
        if version.is_directory:
            return None
        candidates = [copy for copy in (copies if checksum else same) if copy.is_unchanged()]
        digest = self.commands.digest(self.path) if candidates else ""
        for copy in candidates:
            if copy.has_digest(digest):
                record = dataclasses.replace(copy.record, version=version.text, settled=version.settled)
                return CachedCopy.written(copy.directory, record)
        return None

    def _fetch(self, version: FileVersion, checksum: bool) -> CachedCopy:
        for _ in range(_TRIES):
            try:
                with temporary_path(str(self._directory), directory=True, private=True) as tmp_path:
                    record = self._copy(Path(tmp_path), version, checksum).record
                    place = self._directory / secrets.token_hex(8)
                    os.rename(tmp_path, place)
                with contextlib.suppress(OSError):
                    # gc reports it
                    _remove_unused(self._directory, _KEPT)
                return CachedCopy(place, record)
            except _ChangedMeanwhile as changed:
                version = changed.version
        raise RemoteCommandFailed(
            f"the file or directory changed each time while it was copied: {self.path} ({_TRIES} times)",
            next_step="wait for the program that writes it, and try again; `get` copies it as it is",
        )

    def _copy(self, directory: Path, version: FileVersion, checksum: bool) -> CachedCopy:
        content = content_path(directory, self.path)
        os.mkdir(os.path.dirname(content), 0o700)
        try:
            # tasks send parts of a copy to other hosts, and a link would add files of this machine
            Copy(self.commands, content, self.path, True, False, self.progress, confined=True).get()
        except RemoteCommandFailed:
            # tar fails if a file is truncated
            self._check_unchanged(version)
            raise
        self._check_unchanged(version)
        protect(content)
        record = Record(self._host, self.path, version.text, version.settled, local_state(content))
        copy = CachedCopy.written(directory, record)
        if checksum and not copy.has_digest(self.commands.digest(self.path)):
            raise _ChangedMeanwhile(version)
        return copy

    def _check_unchanged(self, version: FileVersion) -> None:
        # the copy may have taken hours, so an outage of the host must not discard it
        retry = Retry(self.commands.connection.settings.unreachable_timeout)
        current = retry.call(lambda: self.commands.version(self.path), "the copy waits for its last check")
        if current.text != version.text:
            raise _ChangedMeanwhile(current)


class _ChangedMeanwhile(Exception):
    """The file has another version, or content, than before it was copied."""

    def __init__(self, version: FileVersion):
        super().__init__()
        self.version = version


def copies_directory() -> Path:
    """The directory of all local copies."""
    # XDG Base Directory Specification: relative paths must be ignored
    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = cache if cache.startswith("/") else os.path.expanduser("~/.cache")
    return Path(home, "luigi-sshjob", "copies")


def remove_unused_copies(hosts: Collection[str], limit: float, *, dry_run: bool) -> int:
    """Removes the copies of files of `hosts` that were not used for `limit` seconds, and returns their number.

    A copy that a process looks at meanwhile is kept.
    """
    with translate_local_file_errors():
        directories = [path for path in sorted(copies_directory().glob("*")) if path.is_dir()]
        return sum(_clean(directory, limit, hosts, dry_run) for directory in directories)


def _clean(directory: Path, limit: float, hosts: Collection[str], dry_run: bool) -> int:
    _make_private(directory)
    lock = FileLock(directory / _LOCK)
    if not lock.try_acquire():
        return 0
    try:
        sweep(str(directory))
        return _remove_unused(directory, limit, hosts, dry_run=dry_run)
    finally:
        lock.release(remove=os.listdir(directory) == [_LOCK])
        with contextlib.suppress(OSError):
            # fails if a copy is left, or another process has begun to make one
            directory.rmdir()


def _remove_unused(directory: Path, limit: float, hosts: Collection[str] = (), *, dry_run: bool = False) -> int:
    """Also removes copies whose record is damaged."""
    copies = [copy for copy in _copies_in(directory) if not hosts or copy.record.host in (*hosts, "")]
    unused = [copy for copy in copies if copy.unused_for() >= limit]
    for copy in unused if not dry_run else ():
        shutil.rmtree(copy.directory)
    return len(unused)


def _copies_in(directory: Path) -> list[CachedCopy]:
    names = [name for name in os.listdir(directory) if name != _LOCK and not name.startswith(".")]
    return [CachedCopy.read(directory / name) for name in names]


@contextlib.contextmanager
def _locked(directory: Path, message: Callable[[], str]) -> Iterator[bool]:
    """Holds the lock of a directory of copies, so that one process fetches; yields whether it had to wait."""
    lock = FileLock(directory / _LOCK)
    try:
        _make_private(directory)
        waited = not lock.try_acquire()
    except OSError as error:
        raise LocalFileError(
            f"local copies cannot be kept in {copies_directory()}: {error.strerror or error}",
            number=error.errno,
            next_step="make it a directory that this account can write, or set XDG_CACHE_HOME to another one",
        ) from error
    try:
        if waited:
            lock.acquire(deadline=math.inf, waiting=WaitLogger(message))
        yield waited
    finally:
        lock.release()


def _make_private(directory: Path) -> None:
    for missing in reversed([each for each in (directory, *directory.parents) if not os.path.lexists(each)]):
        missing.mkdir(mode=0o700, exist_ok=True)
    # gc may just have removed it; then the lock makes it again
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(directory)
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another account", str(directory))
        if status.st_mode & 0o077:
            os.chmod(directory, 0o700)
