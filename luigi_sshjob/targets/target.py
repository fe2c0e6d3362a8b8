"""`RemoteTarget`: a subclass of Luigi's that uses the shared connection."""

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
from luigi_sshjob.targets.progress import Progress

_MAX_NAME = 255  # bytes, on most file systems


class RemoteTarget(luigi.contrib.ssh.RemoteTarget):
    """A file or directory on a host; see `luigi.contrib.ssh.RemoteTarget`.

    Reading raises if the connection breaks before the end of the file. A written file appears at `path` when it is
    closed, and only if every byte has arrived.
    """

    def __init__(self, path: str, host: str, format: Any = None, **kwargs: Any):  # noqa: A002  # Luigi's name
        # Luigi's constructor would create Luigi's file system
        luigi.target.FileSystemTarget.__init__(self, path)
        self.format = luigi.format.get_default_format() if format is None else format
        self._fs: RemoteFileSystem = RemoteFileSystem(host, **kwargs)

    @property
    def fs(self) -> RemoteFileSystem:
        """The file system of the host."""
        return self._fs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {str(self._fs.remote_context.destination)!r})"

    def open(self, mode: str = "r") -> Any:
        """Opens the file in the format of the target; `mode` is "r" or "w"."""
        if mode == "w":
            return self.format.pipe_writer(self.fs.writer(self.path))
        if mode == "r":
            return self.format.pipe_reader(luigi.format.FileWrapper(self.fs.reader(self.path)))
        raise ConfigurationError(
            f"the mode of a remote file must be r or w, not {mode!r}",
            host=str(self._fs.remote_context.destination),
            doing=f"opening {self.path}",
            next_step="read the file, or write a new one: remote files cannot be modified in place",
        )

    @contextlib.contextmanager
    def temporary_path(self) -> Iterator[str]:
        """Like `luigi.target.FileSystemTarget.temporary_path`; also works for names of the maximum length."""
        path = self.path.rstrip("/")
        folder, name = posixpath.split(path)
        if folder:
            self.fs.mkdir(folder)
        suffix = f"-luigi-tmp-{secrets.randbelow(10**10):010}"
        prefix = quoting.decode(quoting.encode(name)[: _MAX_NAME - len(suffix)])
        temporary = posixpath.join(folder, prefix + suffix) + self.path[len(path) :]
        yield temporary
        self.fs.rename_dont_move(temporary, self.path)

    def put(self, local_path: str, **options: Any) -> None:
        """Copies a local file or directory to the target; see `RemoteFileSystem.put`."""
        self.fs.put(local_path, self.path, **options)

    def get(self, local_path: str, **options: Any) -> None:
        """Copies the target to a local path; see `RemoteFileSystem.get`."""
        self.fs.get(self.path, local_path, **options)

    def localize(self, *, checksum: bool = False, progress: Progress | bool | None = None) -> str:
        """Returns the path of a local copy of the target, which is used again; see `RemoteFileSystem.localize`."""
        return self.fs.localize(self.path, checksum=checksum, progress=progress)
