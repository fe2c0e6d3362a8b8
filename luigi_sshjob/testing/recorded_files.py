"""The files of hosts that do not exist, in a local directory for each."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luigi.local_target import LocalFileSystem, atomic_file
from luigi.target import FileAlreadyExists, MissingParentDirectory, NotADirectory

from luigi_sshjob.error_context import error_context, no_such_file, translate_local_file_errors
from luigi_sshjob.errors import (
    ParentDirectoryMissing,
    PathExists,
    PathIsDirectory,
    PathIsNotDirectory,
    RemoteCommandFailed,
    SSHJobError,
)
from luigi_sshjob.remote import quoting

_NEXT = "use another path, or correct what the host has there"

HOME = "/home/recorded"
"""The home directory of the account on each host."""


class RecordedFiles:
    """The files of one host, with the methods and errors of `RemoteFileSystem`.

    Each path of the host, also an absolute one, is a path below `root`; no other file of this machine is used, except
    the local ones of `put` and `get`.
    """

    def __init__(self, root: Path, host: str):
        self._root = root
        self._host = host
        self._local = LocalFileSystem()

    def local(self, path: str) -> str:
        """Return where a path of the host is on this machine. Raises `UnsafeValue` like a request to a host."""
        quoting.quote_path(quoting.path_text(path))
        return f"{self._root}{_absolute(quoting.path_text(path))}"

    def exists(self, path: str) -> bool:
        """See `RemoteFileSystem`, as for all methods below."""
        return os.path.exists(self.local(path))

    def exists_where_known(self, paths: Sequence[str]) -> tuple[list[bool | None], None]:
        """All are known."""
        return [self.exists(path) for path in paths], None

    def isdir(self, path: str) -> bool:  # noqa: D102
        return os.path.isdir(self.local(path))

    def listdir(self, path: str) -> list[str]:  # noqa: D102
        with self._errors(path):
            start, stripped = self.local(path), path.rstrip("/") or "/"
            os.stat(start)
            if os.path.isfile(start):
                return [stripped]
            return [posixpath.join(stripped, os.path.relpath(found, start)) for found in self._local.listdir(start)]

    def remove(self, path: str, recursive: bool = True, skip_trash: bool = True) -> None:  # noqa: ARG002, D102
        with self._errors(path):
            self._local.remove(self.local(path), recursive)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:  # noqa: D102
        with self._errors(path):
            self._local.mkdir(self.local(path.rstrip("/") or "/"), parents, raise_if_exists)

    def move(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            os.rename(self.local(path), self._new(dest))

    def rename_dont_move(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            if self.exists(dest):
                raise _path_exists(dest)
            os.rename(self.local(path), self.local(dest))

    def copy(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            _copy(self.local(path), self._new(dest))

    def glob(self, pattern: str) -> list[str]:  # noqa: D102
        quoting.quote_path(quoting.path_text(pattern))
        if pattern.startswith(("/", "~")):
            return sorted(f"/{found}" for found in glob.glob(_absolute(pattern)[1:], root_dir=self._root))
        return sorted(glob.glob(pattern, root_dir=self.local("~")))

    def size(self, path: str) -> int:  # noqa: D102
        with self._errors(path, reads=True):
            if self.isdir(path):
                raise PathIsDirectory(
                    f"the size of a directory is not defined: {path}", path=path, next_step="use the path of a file"
                )
            return os.stat(self.local(path)).st_size

    def mtime(self, path: str) -> int:  # noqa: D102
        with self._errors(path, reads=True):
            return int(os.stat(self.local(path)).st_mtime)

    def put(self, local_path: str, path: str, *, preserve: bool = False, **_: Any) -> None:
        """The checksum is right, and there is no progress to show."""
        with translate_local_file_errors():
            os.stat(local_path)
        with self._errors(path):
            _copy(os.fspath(local_path), self._new(path), preserve)

    def get(self, path: str, local_path: str, *, preserve: bool = False, **_: Any) -> None:
        """See `put`."""
        with self._errors(path, reads=True):
            os.stat(self.local(path))
        with translate_local_file_errors():
            os.makedirs(os.path.dirname(os.path.normpath(local_path)) or ".", exist_ok=True)
            _copy(self.local(path), os.path.normpath(local_path), preserve)

    def reader(self, path: str) -> io.BufferedReader:  # noqa: D102
        with self._errors(path, reads=True):
            return open(self.local(path), "rb")  # the caller closes it

    def writer(self, path: str) -> io.BufferedWriter:  # noqa: D102
        with self._errors(path):
            if self.isdir(path):
                raise _failed(path, os.strerror(errno.EISDIR))
            file: io.BufferedWriter = atomic_file(self._new(path))
            return file

    def write(self, path: str, content: bytes) -> None:
        """Create a file, or a directory if the path ends with a slash."""
        if path.endswith("/"):
            self.mkdir(path)
        else:
            with self.writer(path) as file:
                file.write(content)

    def _new(self, path: str) -> str:
        """Return where a file will be, in a directory that exists; it may replace a file, not a directory."""
        local = self.local(path)
        if os.path.isdir(local):
            raise _path_exists(path)
        self._local.mkdir(os.path.dirname(local))
        return local

    @contextlib.contextmanager
    def _errors(self, path: str, *, reads: bool = False) -> Iterator[None]:
        """Raise the errors of a host in place of those of this machine."""
        with error_context(host=self._host):
            try:
                yield
            except SSHJobError:
                raise
            except FileAlreadyExists as error:
                raise _path_exists(path) from error
            except MissingParentDirectory as error:
                raise ParentDirectoryMissing(f"the parent directory does not exist: {path}", next_step=_NEXT) from error
            except NotADirectory as error:
                raise PathIsNotDirectory(f"the path exists and is not a directory: {path}", next_step=_NEXT) from error
            except OSError as error:
                if reads and isinstance(error, FileNotFoundError):
                    raise no_such_file(path) from error
                raise _failed(path, str(error.strerror)) from error


def _path_exists(path: str) -> PathExists:
    return PathExists(f"the path already exists: {path}", next_step=_NEXT)


def _failed(path: str, reason: str) -> RemoteCommandFailed:
    return RemoteCommandFailed(f"the host reported an error: {path}: {reason}", next_step=_NEXT)


def _absolute(path: str) -> str:
    """An absolute path without `..`, so that it cannot leave the directory of the host."""
    if path.startswith("~"):
        user, _, rest = path[1:].partition("/")
        path = f"/home/{user}/{rest}" if user else f"{HOME}/{rest}"
    return "/" + posixpath.normpath(posixpath.join(HOME, path)).lstrip("/")


def _copy(source: str, target: str, preserve: bool = False) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target, copy_function=shutil.copy2 if preserve else shutil.copy, symlinks=True)
    else:
        (shutil.copy2 if preserve else shutil.copy)(source, target)
