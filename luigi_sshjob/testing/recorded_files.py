"""The files of hosts that do not exist, in a local directory for each."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from luigi_sshjob.targets.cached_copy import content_path, protect
from luigi_sshjob.targets.links import check_confined
from luigi_sshjob.testing.host_tree import HostTree

_NEXT = "use another path, or correct what the host has there"


class RecordedFiles:
    """The files of one host, with the methods and errors of `RemoteFileSystem`.

    Each path of the host, also an absolute one or the target of a link, is below `root`; no other file of this machine
    is used, except the local ones of `put` and `get`.
    """

    def __init__(self, root: Path, host: str):
        self._tree = HostTree(root)
        self._copies = root.with_name(f"{root.name}.copies")
        self._host = host
        self._local = LocalFileSystem()

    def local(self, path: str, *, follow: bool = True) -> str:
        """See `HostTree`. Raises `UnsafeValue` like a request to a host."""
        quoting.quote_path(quoting.path_text(path))
        return self._tree.local(quoting.path_text(path), follow=follow)

    def exists(self, path: str) -> bool:
        """See `RemoteFileSystem`, as for all methods below."""
        return self._is(os.path.exists, path)

    def exists_where_known(self, paths: Sequence[str]) -> tuple[list[bool | None], None]:
        """All are known."""
        return [self.exists(path) for path in paths], None

    def isdir(self, path: str) -> bool:  # noqa: D102
        return self._is(os.path.isdir, path)

    def listdir(self, path: str) -> list[str]:  # noqa: D102
        with self._errors(path):
            stripped = path.rstrip("/") or "/"
            return [stripped] if os.path.isfile(self.local(path)) else list(self._tree.files(stripped))

    def remove(self, path: str, recursive: bool = True, skip_trash: bool = True) -> None:  # noqa: ARG002, D102
        with self._errors(path):
            local = self.local(path, follow=False)
            if os.path.islink(local):
                os.remove(local)
            else:
                self._local.remove(local, recursive)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:  # noqa: D102
        with self._errors(path):
            self._local.mkdir(self.local(path.rstrip("/") or "/"), parents, raise_if_exists)

    def move(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            os.rename(self.local(path, follow=False), self._new(dest))

    def rename_dont_move(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            if self.exists(dest):
                raise _path_exists(dest)
            os.rename(self.local(path, follow=False), self.local(dest, follow=False))

    def copy(self, path: str, dest: str) -> None:  # noqa: D102
        with self._errors(path):
            _copy(self.local(path), self._new(dest))

    def glob(self, pattern: str) -> list[str]:  # noqa: D102
        quoting.quote_path(quoting.path_text(pattern))
        with self._errors(pattern):
            return self._tree.glob(pattern)

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

    def localize(self, path: str, **_: Any) -> str:
        """A new copy each time, until the end of the recording; see `put`."""
        self._copies.mkdir(mode=0o700, exist_ok=True)
        content = content_path(Path(tempfile.mkdtemp(dir=self._copies)), quoting.path_text(path))
        self.get(path, content, preserve=True)
        below = [each.relative_to(content) for each in Path(content).rglob("*")] if os.path.isdir(content) else []
        links = [(str(each), os.readlink(Path(content, each))) for each in below if Path(content, each).is_symlink()]
        real = {"", *(str(each) for each in below if Path(content, each).is_dir())} - {name for name, _ in links}
        check_confined(links, real)
        protect(content)
        return content

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

    def _is(self, test: Callable[[str], bool], path: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return test(self.local(path))
        return False

    def _new(self, path: str) -> str:
        """Return where a file will be, in a directory that exists; it may replace a file, not a directory."""
        if self.isdir(path):
            raise _path_exists(path)
        local = self.local(path, follow=False)
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


def _copy(source: str, target: str, preserve: bool = False) -> None:
    copy_function = shutil.copy2 if preserve else shutil.copy
    if os.path.isdir(source):
        shutil.copytree(source, target, copy_function=copy_function, symlinks=True)
    else:
        if os.path.islink(target):
            # is replaced, as all targets of copies are
            os.remove(target)
        copy_function(source, target)
