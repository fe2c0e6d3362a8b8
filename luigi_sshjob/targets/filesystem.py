"""`RemoteFileSystem`: Luigi's, over the shared connection."""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Sequence
from typing import Any

import luigi.contrib.ssh

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import PathIsDirectory, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell import errors
from luigi_sshjob.targets import copy as copy_module
from luigi_sshjob.targets.atomic_writer import AtomicRemoteFile
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.progress import Progress, shown
from luigi_sshjob.targets.streams import RemoteReader
from luigi_sshjob.targets.transfer import FileStat


class RemoteFileSystem(luigi.contrib.ssh.RemoteFileSystem):
    """Files on a host. Every path may hold any byte but NUL; `~/` is the account's home, and so is a relative path.

    Methods raise a `FileError` (each also Luigi's `FileSystemException` or Python's `OSError` for the same),
    `RemoteCommandFailed` (also a `CalledProcessError`, as Luigi's do) with what the host said, or a
    `ConnectionFailed`.
    """

    remote_context: RemoteContext

    def __init__(self, host: str, **kwargs: Any):
        self.remote_context = RemoteContext(host, **kwargs)

    @property
    def _connection(self) -> Connection:
        return self.remote_context.connection

    @property
    def _verbs(self) -> FileCommands:
        return FileCommands(self._connection)

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory at `path`; raises where the account may not know."""
        return self._verbs.says("fs_exists", path)

    def exists_many(self, paths: Sequence[str]) -> list[bool]:
        """Whether there is something at each of `paths`, in one round trip; raises where the account may not know."""
        with error_context(f"looking for {len(paths)} paths"):
            asked = self._connection.request("fs_exists_many", *map(self._verbs.quoted, paths))
        said = [part.value for part in asked.parts]
        if "unknown" in said:
            # says which directory may not be searched
            self.exists(paths[said.index("unknown")])
        return [value == "yes" for value in said]

    def isdir(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return self._verbs.says("fs_isdir", path)

    def listdir(self, path: str) -> list[str]:
        """The files below `path`, at any depth, each with `path` before it."""
        self._verbs.quoted(path)
        stripped = quoting.path_text(path).rstrip("/") or "/"
        (files,) = self._verbs.check("fs_listdir", stripped, dedicated_session=True).parts
        return [quoting.decode(name) for name in files.content.split(b"\0") if name]

    def remove(self, path: str, recursive: bool = True, skip_trash: bool = True) -> None:
        """Removes what is at `path`; there is no trash to skip."""
        try:
            # what is no directory is gone at once, and needs no session of its own
            self._verbs.check("fs_remove_file", path, idempotent=False)
        except RemoteCommandFailed as error:
            if not recursive or errors.said(error) != "it is a directory":
                raise
            self._verbs.check("fs_remove", path, idempotent=False, dedicated_session=True)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Makes a directory, as `luigi.target.FileSystem.mkdir` describes."""
        flags = tuple("yes" if flag else "no" for flag in (parents, raise_if_exists))
        self._verbs.check("fs_mkdir", path, more=flags, idempotent=not raise_if_exists)

    def move(self, path: str, dest: str) -> None:
        """Moves a file or directory; makes the directory it goes to; replaces a file."""
        self._verbs.prepare(dest)
        self._verbs.check("fs_move", path, dest, idempotent=False, dedicated_session=True)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Renames within one file system; raises `FileAlreadyExists` where there is something already."""
        self._verbs.check("fs_rename_new", path, dest, idempotent=False)

    def copy(self, path: str, dest: str) -> None:
        """Copies a file or directory on the host; it appears at `dest` whole or not at all; replaces a file."""
        self._verbs.prepare(dest)
        self._verbs.check("fs_copy", path, dest, idempotent=False, dedicated_session=True)

    def glob(self, pattern: str) -> list[str]:
        """The paths that `pattern` stands for as the host's shell sees it (`*`, `?`, `[…]`), sorted."""
        return [quoting.decode(part.content)[:-1] for part in self._verbs.check("fs_glob", pattern).parts]

    def size(self, path: str) -> int:
        """The bytes of a file; raises `FileNotFoundError`, and `IsADirectoryError`."""
        path = self._text(path)
        if self.isdir(path):
            raise PathIsDirectory(
                f"this is a directory, which has no size: {path}",
                path=path,
                host=self._connection.host,
                next_step="give the path of a file",
            )
        return FileStat.of(self._connection, path).size

    def mtime(self, path: str) -> int:
        """When a file or directory was changed last, in seconds of 1970 by the host's clock."""
        mtime = FileStat.of(self._connection, self._text(path)).mtime
        if mtime is None:
            raise RemoteCommandFailed(
                f"the host has no stat(1) that tells the time of a file: {path}",
                host=self._connection.host,
                next_step="install one there (Debian: coreutils)",
            )
        return mtime

    def put(
        self,
        local_path: str,
        path: str,
        *,
        preserve: bool = False,
        checksum: bool = False,
        progress: Progress | bool | None = None,
    ) -> None:
        """Copies a local file or directory to the host; it appears at `path` whole or not at all.

        A file goes on from where it was when the connection breaks, for as long as `unreachable_timeout` allows.
        `preserve` keeps permissions and times; else a program stays one. `checksum` compares a file's sha256 on
        both sides. `progress` is called with the bytes sent and how many there are (None for a directory); True
        shows a bar on a terminal. Raises `FileMissing` or `LocalFileError`, each an `OSError` too, for what is wrong
        here, `RemoteCommandFailed` or `ConnectionFailed` for what is there.
        """
        verbs = self._verbs
        with (
            error_context(f"putting {local_path} at {path}", host=str(self.remote_context.destination)),
            translate_local_file_errors(),
        ):
            path, local_path = quoting.path_text(path), _local(local_path)
            verbs.prepare(path)
            with shown(progress, os.path.basename(os.path.normpath(local_path))) as tell:
                copy_module.put(verbs, local_path, path, copy_module.CopyOptions(preserve, checksum, tell))

    def get(
        self,
        path: str,
        local_path: str,
        *,
        preserve: bool = False,
        checksum: bool = False,
        progress: Progress | bool | None = None,
    ) -> None:
        """Copies a file or directory from the host; it appears at `local_path` whole or not at all. As `put`."""
        with (
            error_context(f"getting {path} to {local_path}", host=str(self.remote_context.destination)),
            translate_local_file_errors(),
        ):
            local_path = os.path.normpath(_local(local_path))
            path = quoting.path_text(path)
            with shown(progress, posixpath.basename(path.rstrip("/"))) as tell:
                copy_module.get(self._verbs, path, local_path, copy_module.CopyOptions(preserve, checksum, tell))

    def reader(self, path: str) -> io.BufferedReader:
        """The bytes of a file; see `RemoteReader` for what it raises."""
        return io.BufferedReader(RemoteReader(self._connection, self._text(path)), 1 << 18)

    def writer(self, path: str) -> AtomicRemoteFile:
        """A new file that replaces what is at `path` when it is closed."""
        self._verbs.prepare(path)
        return AtomicRemoteFile(self._connection, self._text(path))

    def _text(self, path: Any) -> str:
        with error_context(host=self._connection.host):
            return quoting.path_text(path)


def _local(path: Any) -> str:
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise UnsafeValue(f"this is no path of this machine: {path!r}", next_step="correct the local path")
    return name
