"""`put` and `get`: atomic copies of files and directories, with permissions, checksum and progress."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.targets import archive
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.digests import chunks, sha256
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.source import FileSource, open_regular
from luigi_sshjob.targets.temp_files import temporary_path
from luigi_sshjob.targets.transfer import Download, Upload


@dataclasses.dataclass(frozen=True)
class Copy:
    """A copy between `local_path` and `path` on a host, with the options of `RemoteFileSystem.put`."""

    commands: FileCommands
    local_path: str
    path: str
    preserve: bool
    checksum: bool
    progress: Progress
    confined: bool = False
    """Whether `get` refuses a directory with a symbolic link that leads outside of it."""

    def put(self) -> None:
        """Copies a local file or directory to the host."""
        if os.path.isdir(self.local_path):
            self._put_directory()
        else:
            self._put_file()

    def get(self) -> None:
        """Copies a file or directory from the host; creates the local parent directory."""
        is_directory = self.commands.test("fs_isdir", self.path)
        if is_directory and self.checksum:
            raise no_checksum_of_directory(self.path)
        folder = os.path.dirname(self.local_path)
        os.makedirs(folder or ".", exist_ok=True)
        with temporary_path(folder, directory=is_directory, private=self.preserve) as tmp_path:
            if is_directory:
                options = {"preserve": self.preserve, "confined": self.confined}
                archive.receive_directory(
                    self.commands.connection, self.path, tmp_path, progress=self.progress, **options
                )
                os.rename(tmp_path, self.local_path)
            else:
                self._get_file(tmp_path)
                os.replace(tmp_path, self.local_path)

    def _put_file(self) -> None:
        with open_regular(self.local_path) as local:
            status = os.fstat(local.fileno())
            upload = Upload(self.commands, self.path, self.progress, private=self.preserve)
            try:
                upload.run(FileSource(local, status.st_size))
                upload.commit(
                    status.st_size,
                    self._remote_mode(status),
                    status.st_mtime if self.preserve else None,
                    sha256(chunks(local)) if self.checksum else "",
                )
            except BaseException:
                upload.discard()
                raise

    def _remote_mode(self, status: os.stat_result) -> str:
        """Argument of chmod on the host; without `preserve` the umask there applies, and programs stay executable."""
        if self.preserve:
            return f"{status.st_mode & 0o777:o}"
        return "+x" if status.st_mode & stat.S_IXUSR else ""

    def _put_directory(self) -> None:
        if self.checksum:
            raise no_checksum_of_directory(self.local_path)
        tmp_path = archive.send_directory(
            self.commands.connection, self.local_path, self.path, preserve=self.preserve, progress=self.progress
        )
        try:
            options = {"idempotent": False, "dedicated_session": True}
            self.commands.request("fs_commit", tmp_path, self.path, options=("",), **options)
        except BaseException:
            with contextlib.suppress(Exception):  # report the error that led here
                self.commands.request("fs_discard", tmp_path, idempotent=False, dedicated_session=True)
            raise

    def _get_file(self, tmp_path: str) -> None:
        # unbuffered, because the descriptor is written to directly
        with open(tmp_path, "r+b", buffering=0) as local:
            status = Download(self.commands, self.path, self.progress).run(local)
            if self.checksum:
                self.commands.check_sha256(self.path, sha256(chunks(local)))
        # if the host cannot report the mode, the file stays private
        if self.preserve and status.mode is not None and status.mtime is not None:
            os.chmod(tmp_path, status.mode & 0o777)  # never setuid or setgid
            os.utime(tmp_path, (status.mtime, status.mtime))
        elif status.mode is not None and status.mode & stat.S_IXUSR:
            mode = os.stat(tmp_path).st_mode
            os.chmod(tmp_path, mode | (mode & 0o444) >> 2)


def no_checksum_of_directory(path: str) -> ConfigurationError:
    """The error for a directory that is to be compared by its checksum."""
    return ConfigurationError(
        f"checksum is not supported for directories: {path}",
        next_step="omit checksum: ssh already protects the data in transit",
    )
