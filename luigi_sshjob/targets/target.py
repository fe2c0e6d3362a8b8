"""`RemoteTarget`: Luigi's, over the shared connection."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Iterator
from typing import Any

import luigi.contrib.ssh
import luigi.format

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.remote import quoting
from luigi_sshjob.targets.filesystem import RemoteFileSystem

_LONGEST_NAME = 255  # bytes, on most file systems


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
        raise ConfigurationError(
            f"the mode of a remote file is neither r nor w: {mode!r}",
            host=str(self._fs.remote_context.destination),
            doing=f"opening {self.path}",
            next_step="read a file, or write a new one: no file on a host is changed in its place",
        )

    @contextlib.contextmanager
    def temporary_path(self) -> Iterator[str]:
        """As `luigi.target.FileSystemTarget.temporary_path`; also where the target's name is as long as one can be."""
        path = self.path.rstrip("/")
        folder, name = posixpath.split(path)
        if folder:
            self.fs.mkdir(folder)
        ending = f"-luigi-tmp-{secrets.randbelow(10**10):010}"
        beginning = quoting.decode(quoting.encode(name)[: _LONGEST_NAME - len(ending)])
        temporary = posixpath.join(folder, beginning + ending) + self.path[len(path) :]
        yield temporary
        self.fs.rename_dont_move(temporary, self.path)

    def put(self, local_path: str, **options: Any) -> None:
        """Copies a local file or directory to the target, see `RemoteFileSystem.put`."""
        self.fs.put(local_path, self.path, **options)

    def get(self, local_path: str, **options: Any) -> None:
        """Copies the target to a local path, see `RemoteFileSystem.get`."""
        self.fs.get(self.path, local_path, **options)
