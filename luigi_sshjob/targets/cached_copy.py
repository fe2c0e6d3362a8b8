"""One local copy of a file or directory of a host, and its record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import posixpath
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.remote import quoting
from luigi_sshjob.targets.digests import has_digest


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a copy."""

    host: str = ""
    path: str = ""
    version: str = ""
    """See `FileVersion.text`; empty if the record is damaged."""
    settled: bool = False
    state: str = ""
    """Sizes and times of the local files, see `local_state`."""


@dataclasses.dataclass(frozen=True)
class CachedCopy:
    """A copy in a directory of its own, which is renamed into place when it is complete."""

    directory: Path
    record: Record

    @classmethod
    def read(cls, directory: Path) -> CachedCopy:
        """The copy in `directory`; with an empty record if that is damaged."""
        try:
            record = Record(**json.loads(_record_path(directory).read_text()))
        except (OSError, ValueError, TypeError):
            record = Record()
        return cls(directory, record)

    @classmethod
    def written(cls, directory: Path, record: Record) -> CachedCopy:
        """The copy in `directory`, whose record this replaces."""
        aside = directory / ".record"
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(dataclasses.asdict(record), file)
        aside.replace(_record_path(directory))
        return cls(directory, record)

    @property
    def content(self) -> str:
        """The path of the file or directory itself."""
        return content_path(self.directory, self.record.path)

    def is_unchanged(self) -> bool:
        """Whether nobody has changed the local files since they were copied, by their sizes and times."""
        try:
            return bool(self.record.state) and local_state(self.content) == self.record.state
        except OSError:
            return False

    def has_digest(self, digest: str) -> bool:
        """Whether the content of the local file has a digest that `FileCommands.digest` has returned."""
        return has_digest(self.content, digest)

    def mark_used(self) -> None:
        """Records the time of the last use, as the time of the record."""
        os.utime(_record_path(self.directory))

    def unused_for(self) -> float:
        """Seconds since the last use."""
        path = _record_path(self.directory)
        return time.time() - (path if path.exists() else self.directory).stat().st_mtime


def content_path(directory: Path, path: str) -> str:
    """Where the copy of `path` is: with the same name, because programs look at the extension."""
    name = posixpath.basename(posixpath.normpath(path))
    return str(directory / "content" / ("copy" if name in ("", ".", "..") else name))


def protect(path: str) -> None:
    """Makes files read-only and directories private, so that a copy that others use is not changed by mistake."""
    for file, status in _walk(path):
        if stat.S_ISDIR(status.st_mode):
            os.chmod(file, 0o700)
        elif stat.S_ISREG(status.st_mode):
            os.chmod(file, status.st_mode & 0o100 | 0o400)


def local_state(path: str) -> str:
    """A text that differs when a file, or one below a directory, has another size, time, type or name."""
    digest = hashlib.sha256()
    for file, status in _walk(path):
        changed = "" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} {status.st_mtime_ns}"
        name = quoting.encode(os.path.relpath(file, path))
        digest.update(f"{len(name)} {stat.S_IFMT(status.st_mode)} {changed} ".encode() + name)
    return digest.hexdigest()


def _walk(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """A path, and if it is a directory all paths below it, each after its directory; links are not followed."""
    pending = [path]
    while pending:
        file = pending.pop()
        status = os.lstat(file)
        yield file, status
        if stat.S_ISDIR(status.st_mode):
            pending += sorted(os.path.join(file, name) for name in os.listdir(file))


def _record_path(directory: Path) -> Path:
    return directory / "record"
