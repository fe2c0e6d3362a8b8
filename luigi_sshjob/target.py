"""`RemoteFileSystem` and `RemoteTarget`: Luigi's, over the shared connection."""

from __future__ import annotations

import io
import os
import posixpath
import random
import shutil
import tarfile
from collections.abc import Sequence
from typing import Any

import luigi.contrib.ssh
import luigi.format
from luigi.target import FileAlreadyExists, MissingParentDirectory, NotADirectory

from luigi_sshjob import shell
from luigi_sshjob.context import RemoteContext
from luigi_sshjob.errors import RemoteCommandFailed, UnsafeValue
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.remote_shell import Answer
from luigi_sshjob.streams import AtomicRemoteWriter, RemoteReader, RemoteSink

# What the host's functions answer (remote/files.sh) -> what Luigi raises.
_REFUSALS = {
    "exists": FileAlreadyExists,
    "no-parent": MissingParentDirectory,
    "not-a-directory": NotADirectory,
}


class RemoteFileSystem(luigi.contrib.ssh.RemoteFileSystem):
    """Files on a host. Every path may hold any byte but NUL; `~/` is the account's home, and so is a relative path.

    Methods raise Luigi's `FileSystemException`s, `RemoteCommandFailed` (also a `CalledProcessError`, as
    Luigi's do) with what the host said, or a `ConnectionFailed`.
    """

    remote_context: RemoteContext

    def __init__(self, host: str, **kwargs: Any):
        self.remote_context = RemoteContext(host, **kwargs)

    @property
    def _connection(self) -> Connection:
        return self.remote_context.connection

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory at `path`; raises where the account may not know."""
        return self._is("fs_exists", path)

    def exists_many(self, paths: Sequence[str]) -> list[bool]:
        """Whether there is something at each of `paths`, in one round trip."""
        answer = self._connection.check("fs_exists_many", *map(self._quoted, paths))
        return [part.value == "yes" for part in answer.parts]

    def isdir(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return self._is("fs_isdir", path)

    def listdir(self, path: str) -> list[str]:
        """The files below `path`, at any depth, each with `path` before it."""
        stripped = str(path).rstrip("/") or ("/" if str(path).startswith("/") else ".")
        (files,) = self._check("fs_listdir", stripped, bounded=False).parts
        return [shell.decode(name) for name in files.content.split(b"\0") if name]

    def remove(self, path: str, recursive: bool = True, skip_trash: bool = True) -> None:
        """Removes what is at `path`; there is no trash to skip."""
        try:
            # what is no directory is gone at once, and needs no session of its own
            self._check("fs_remove_file", path, repeatable=False)
        except RemoteCommandFailed as error:
            if not recursive or error.problem != "a directory":
                raise
            self._check("fs_remove", path, repeatable=False, bounded=False)

    def mkdir(self, path: str, parents: bool = True, raise_if_exists: bool = False) -> None:
        """Makes a directory, as `luigi.target.FileSystem.mkdir` describes."""
        flags = tuple("yes" if flag else "no" for flag in (parents, raise_if_exists))
        self._check("fs_mkdir", path, more=flags, repeatable=not raise_if_exists)

    def move(self, path: str, dest: str) -> None:
        """Moves a file or directory; makes the directory it goes to; replaces a file."""
        self._make_parent(dest)
        self._check("fs_move", path, dest, repeatable=False, bounded=False)

    def rename_dont_move(self, path: str, dest: str) -> None:
        """Renames within one file system; raises `FileAlreadyExists` where there is something already."""
        self._check("fs_rename_new", path, dest, repeatable=False)

    def put(self, local_path: str, path: str) -> None:
        """Copies a local file or directory to the host; it appears at `path` whole or not at all."""
        self._make_parent(path)
        if os.path.isdir(local_path):
            self._put_directory(local_path, path)
        else:
            executable = os.access(local_path, os.X_OK)
            with open(local_path, "rb") as source, self._writer(path, executable) as target:
                shutil.copyfileobj(source, target, 1 << 20)

    def get(self, path: str, local_path: str) -> None:
        """Copies a file from the host; it appears at `local_path` whole or not at all."""
        folder = os.path.dirname(os.path.normpath(local_path))
        if folder:
            os.makedirs(folder, exist_ok=True)
        tmp_path = _temporary(local_path)
        try:
            with self.reader(path) as source, open(tmp_path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            if self._connection.call("fs_isexecutable", self._quoted(path)).status == 0:
                readable = os.stat(tmp_path).st_mode
                os.chmod(tmp_path, readable | (readable & 0o444) >> 2)
            os.replace(tmp_path, local_path)
        except BaseException:
            if os.path.exists(tmp_path):
                os.remove(tmp_path)
            raise

    def reader(self, path: str) -> io.BufferedReader:
        """The bytes of a file; see `RemoteReader` for what it raises."""
        return io.BufferedReader(RemoteReader(self._connection, str(path)), 1 << 18)

    def writer(self, path: str) -> AtomicRemoteWriter:
        """A new file that replaces what is at `path` when it is closed."""
        self._make_parent(path)
        return self._writer(path, executable=False)

    def _writer(self, path: str, executable: bool) -> AtomicRemoteWriter:
        return AtomicRemoteWriter(self._connection, str(path), _temporary(str(path)), executable)

    def _put_directory(self, local_path: str, path: str) -> None:
        tmp_path = _temporary(path.rstrip("/"))
        self.mkdir(tmp_path)
        sink = RemoteSink(self._connection, f"cd {self._quoted(tmp_path)} && exec tar -xf -", path)
        try:
            with tarfile.open(mode="w|", fileobj=sink, format=tarfile.PAX_FORMAT) as archive:
                archive.add(local_path, arcname=".")
            sink.finish()
            self.move(tmp_path, path)
        except BaseException:
            sink.cut()
            self.remove(tmp_path)
            raise

    def _make_parent(self, path: str) -> None:
        folder = posixpath.dirname(posixpath.normpath(str(path)))
        if folder:
            self.mkdir(folder)

    def _quoted(self, path: str) -> shell.Word:
        try:
            return shell.quote_path(str(path))
        except UnsafeValue as error:
            error.host = self._connection.host
            raise

    def _is(self, verb: str, path: str) -> bool:
        answer = self._connection.call(verb, self._quoted(path))
        if answer.status > 1:
            raise self._connection.refusal(verb, answer)
        return answer.status == 0

    def _check(
        self, verb: str, *paths: str, more: tuple[str, ...] = (), repeatable: bool = True, bounded: bool = True
    ) -> Answer:
        words = (*map(self._quoted, paths), *more)
        try:
            return self._connection.check(verb, *words, repeatable=repeatable, bounded=bounded)
        except RemoteCommandFailed as error:
            refusal = _REFUSALS.get(error.problem)
            if refusal:
                raise refusal(f"{paths[-1]} on {self._connection.host}: {error.problem}") from None
            raise


class RemoteTarget(luigi.contrib.ssh.RemoteTarget):
    """A file or directory on a host, as `luigi.contrib.ssh.RemoteTarget`.

    A reader raises where the file's end was not reached; a writer's file is at `path` only once it was
    closed and every byte has arrived.
    """

    def __init__(self, path: str, host: str, format: Any = None, **kwargs: Any):
        # Luigi's constructor would make Luigi's file system
        luigi.target.FileSystemTarget.__init__(self, path)
        self.format = luigi.format.get_default_format() if format is None else format
        self._fs: RemoteFileSystem = RemoteFileSystem(host, **kwargs)

    @property
    def fs(self) -> RemoteFileSystem:
        """The file system of the target's host."""
        return self._fs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {str(self._fs.remote_context.destination)!r})"

    def open(self, mode: str = "r") -> Any:
        """A file object in the target's format; `mode` is "r" or "w"."""
        if mode == "w":
            return self.format.pipe_writer(self.fs.writer(self.path))
        if mode == "r":
            return self.format.pipe_reader(luigi.format.FileWrapper(self.fs.reader(self.path)))
        raise ValueError(f"mode must be 'r' or 'w' (got: {mode})")


def _temporary(path: str) -> str:
    return f"{path}-luigi-tmp-{random.randrange(0, 10_000_000_000):010}"
