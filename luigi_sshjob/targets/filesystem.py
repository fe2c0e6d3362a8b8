"""`RemoteFileSystem`: a subclass of Luigi's that uses the shared connection."""

from __future__ import annotations

import io
import os
import posixpath
import secrets
from collections.abc import Sequence
from typing import Any

import luigi.contrib.ssh

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import PathIsDirectory, RemoteCommandFailed, UnsafeValue
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.targets.atomic_writer import AtomicRemoteFile
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.copy import Copy
from luigi_sshjob.targets.local_copies import LocalCopies
from luigi_sshjob.targets.progress import Progress, progress_callback
from luigi_sshjob.targets.streams import RemoteReader


class RemoteFileSystem(luigi.contrib.ssh.RemoteFileSystem):
    """Files on a host.

    A path may contain any byte but NUL; relative paths and `~/` start in the account's home directory. Methods raise a
    `FileError` (also the corresponding exception of Luigi or Python), `RemoteCommandFailed` (also a
    `CalledProcessError`, as in Luigi) with the error messages of the host, or `ConnectionFailed`.
    """

    remote_context: RemoteContext

    def __init__(self, host: str, **kwargs: Any):
        self.remote_context = RemoteContext(host, **kwargs)

    @property
    def _connection(self) -> Connection:
        return self.remote_context.connection

    @property
    def _commands(self) -> FileCommands:
        return FileCommands(self._connection)

    def exists(self, path: str) -> bool:
        """Whether `path` exists. Raises `RemoteCommandFailed` if the account may not know."""
        return self._commands.test("fs_exists", path)

    def exists_many(self, paths: Sequence[str]) -> list[bool]:
        """Whether each of `paths` exists, in one round trip; raises like `exists`."""
        known, stuck = self.exists_where_known(paths)
        if stuck:
            raise stuck
        return [value is True for value in known]

    def exists_where_known(self, paths: Sequence[str]) -> tuple[list[bool | None], RemoteCommandFailed | None]:
        """Like `exists_many`, but None for paths whose file system does not respond, with the error for the first."""
        with error_context(f"looking for {len(paths)} paths"):
            values, stuck = self._commands.exist(paths)
        if "unknown" in values:
            # raises an error that names the directory
            self.exists(paths[values.index("unknown")])
        meaning = {"yes": True, "no": False, "stuck": None}
        with reading_response("fs_exists_many", self._connection.host):
            return [meaning[value] for _, value in zip(paths, values, strict=True)], stuck

    def isdir(self, path: str) -> bool:
        """Whether `path` is a directory."""
        return self._commands.test("fs_isdir", path)

    def listdir(self, path: str) -> list[str]:
        """Lists all files below `path` recursively, as paths that begin with `path`."""
        self._commands.quote(path)
        stripped = quoting.path_text(path).rstrip("/") or "/"
        response = self._commands.request("fs_listdir", stripped, dedicated_session=True)
        with reading_response("fs_listdir", self._connection.host):
            (files,) = response.parts
            return [quoting.decode(name) for name in files.content.split(b"\0") if name]

    def remove(self, path: str, recursive: bool = True, skip_trash: bool = True) -> None:  # noqa: ARG002  # Luigi's
        """Removes a file or, if `recursive`, a directory; there is no trash, so `skip_trash` has no effect."""
        try:
            # only the removal of a directory may take long enough for a dedicated session
            self._commands.request("fs_remove_file", path, idempotent=False)
        except RemoteCommandFailed as error:
            if not recursive or error.code != "is-a-directory":
                raise
            self._commands.request("fs_remove", path, idempotent=False, dedicated_session=True)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Creates a directory; see `luigi.target.FileSystem.mkdir`."""
        flags = tuple("yes" if flag else "no" for flag in (parents, raise_if_exists))
        self._commands.request("fs_mkdir", path, options=flags, idempotent=not raise_if_exists)

    def move(self, path: str, dest: str) -> None:
        """Moves a file or directory; creates the parent directory of `dest`, and replaces a file there."""
        self._commands.create_parent(dest)
        self._commands.request("fs_move", path, dest, idempotent=False, dedicated_session=True)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Renames within one file system. Raises `FileAlreadyExists` if `dest` exists."""
        # a dedicated session: between file systems mv copies, which must not be interrupted
        self._commands.request("fs_rename_new", path, dest, idempotent=False, dedicated_session=True)

    def copy(self, path: str, dest: str) -> None:
        """Copies a file or directory on the host, atomically; replaces a file at `dest`."""
        self._commands.create_parent(dest)
        self._commands.request(
            "fs_copy", path, dest, options=(secrets.token_hex(16),), idempotent=False, dedicated_session=True
        )

    def glob(self, pattern: str) -> list[str]:
        """Returns the sorted paths that match `pattern` (`*`, `?`, `[…]`), as the host's shell expands it."""
        return [quoting.decode(part.content)[:-1] for part in self._commands.request("fs_glob", pattern).parts]

    def size(self, path: str) -> int:
        """Returns the size of a file in bytes. Raises `FileNotFoundError` or `IsADirectoryError`."""
        path = self._text(path)
        if self.isdir(path):
            raise PathIsDirectory(
                f"the size of a directory is not defined: {path}",
                path=path,
                host=self._connection.host,
                next_step="use the path of a file",
            )
        return self._commands.stat(path).size

    def mtime(self, path: str) -> int:
        """Returns the modification time of a file or directory, in seconds since 1970 by the host's clock."""
        mtime = self._commands.stat(path).mtime
        if mtime is None:
            raise RemoteCommandFailed(
                f"the host has no stat(1) that reports file times: {path}",
                host=self._connection.host,
                next_step="install it on the host (Debian: package coreutils)",
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
        """Copies a local file or directory to the host, atomically.

        If the connection breaks, the copy of a file resumes where it stopped, within `unreachable_timeout`.

        `preserve` keeps permissions and times; otherwise the umask applies, and programs stay executable. `checksum`
        compares the sha256 of a file on both sides. `progress` is called with the number of bytes sent and the total
        (None for a directory); True shows a progress bar on a terminal.

        Raises `FileMissing` or `LocalFileError` (both also `OSError`) for local errors, and `RemoteCommandFailed` or
        `ConnectionFailed` for those of the host.
        """
        with (
            error_context(f"uploading {local_path} to {path}", host=str(self.remote_context.destination)),
            translate_local_file_errors(),
        ):
            path, local_path = quoting.path_text(path), _local_path(local_path)
            self._commands.create_parent(path)
            with progress_callback(progress, os.path.basename(os.path.normpath(local_path))) as callback:
                Copy(self._commands, local_path, path, preserve, checksum, callback).put()

    def get(
        self,
        path: str,
        local_path: str,
        *,
        preserve: bool = False,
        checksum: bool = False,
        progress: Progress | bool | None = None,
    ) -> None:
        """Copies a file or directory from the host, atomically; options and errors are those of `put`."""
        with (
            error_context(f"downloading {path} to {local_path}", host=str(self.remote_context.destination)),
            translate_local_file_errors(),
        ):
            local_path = os.path.normpath(_local_path(local_path))
            path = quoting.path_text(path)
            with progress_callback(progress, posixpath.basename(path.rstrip("/"))) as callback:
                Copy(self._commands, local_path, path, preserve, checksum, callback).get()

    def localize(self, path: str, *, checksum: bool = False, progress: Progress | bool | None = None) -> str:
        """Returns the path of a local copy of a file or directory, with the same name; nobody should change it.

        The copy is kept below `$XDG_CACHE_HOME/luigi-sshjob` (by default `~/.cache`) until `luigi-sshjob gc` removes
        it, and used again in one round trip while size, inode and times on the host are the same; a file that has just
        changed is compared by its checksum. `checksum` always compares that: sha256, or where the host has no program
        for it the CRC and size of POSIX cksum, which detects accidental changes only. A new version is another copy.

        Raises the errors of `get`, `LocalFileError` also if copies cannot be kept there, and `RemoteCommandFailed` if
        the file changes all the time, or if a symbolic link in a directory leads outside of it.
        """
        with (
            error_context(f"making a local copy of {path}", host=str(self.remote_context.destination)),
            translate_local_file_errors(),
        ):
            path = quoting.path_text(path)
            with progress_callback(progress, posixpath.basename(path.rstrip("/"))) as callback:
                return LocalCopies(self._commands, path, callback).localize(checksum=checksum)

    def reader(self, path: str) -> io.BufferedReader:
        """Opens a file for reading; see `RemoteReader` for the errors."""
        return io.BufferedReader(RemoteReader(self._connection, self._text(path)), 1 << 18)

    def writer(self, path: str) -> AtomicRemoteFile:
        """Creates a file that replaces `path` when it is closed."""
        self._commands.create_parent(path)
        return AtomicRemoteFile(self._connection, self._text(path))

    def _text(self, path: Any) -> str:
        with error_context(host=self._connection.host):
            return quoting.path_text(path)


def _local_path(path: Any) -> str:
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise UnsafeValue(f"invalid local path: {path!r}", next_step="correct the local path")
    return name
