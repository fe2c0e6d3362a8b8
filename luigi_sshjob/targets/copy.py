"""`put` and `get`: what is copied appears in its place whole, with its permissions, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import posixpath
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from luigi_sshjob.errors import ConfigurationError, LocalFileError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.transports.error_mapping import program_missing
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.streams import PIECE, RemoteReader, RemoteWriter, widen
from luigi_sshjob.targets.temp_files import temporary
from luigi_sshjob.targets.transfer import Download, Upload, compare, sha256


@dataclasses.dataclass(frozen=True)
class CopyOptions:
    """How to copy, see `RemoteFileSystem.put`."""

    preserve: bool
    checksum: bool
    progress: Progress


def put(verbs: FileCommands, local_path: str, path: str, manner: CopyOptions) -> None:
    """A local file or directory to the host."""
    if os.path.isdir(local_path):
        _no_checksum(verbs, local_path, manner)
        _put_directory(verbs, local_path, path, manner)
    else:
        _put_file(verbs, local_path, path, manner)


def get(verbs: FileCommands, path: str, local_path: str, manner: CopyOptions) -> None:
    """A file or directory of the host to this machine; makes the directory it goes to."""
    is_directory = verbs.says("fs_isdir", path)
    if is_directory:
        _no_checksum(verbs, path, manner)
    folder, name = os.path.split(local_path)
    os.makedirs(folder or ".", exist_ok=True)
    with temporary(folder, directory=is_directory, private=manner.preserve) as tmp_path:
        if is_directory:
            get_tree(verbs.connection, path, tmp_path, preserve=manner.preserve, progress=manner.progress)
            os.rename(tmp_path, os.path.join(folder, name))
        else:
            _get_file(verbs, path, tmp_path, manner)
            os.replace(tmp_path, os.path.join(folder, name))


def _put_file(verbs: FileCommands, local_path: str, path: str, manner: CopyOptions) -> None:
    with open(local_path, "rb") as local:
        facts = os.fstat(local.fileno())
        upload = Upload(verbs.connection, path, manner.progress, private=manner.preserve)
        try:
            upload.run(local, facts.st_size)
            digest = sha256(local) if manner.checksum else ""
            upload.commit(facts.st_size, _mode(facts, manner), facts.st_mtime if manner.preserve else None, digest)
        except BaseException:
            upload.discard()
            raise


def _mode(facts: os.stat_result, manner: CopyOptions) -> str:
    """For chmod on the host; a program stays one, with the umask that the account has there."""
    if manner.preserve:
        return f"{stat.S_IMODE(facts.st_mode):o}"
    return "+x" if facts.st_mode & stat.S_IXUSR else ""


def _get_file(verbs: FileCommands, path: str, tmp_path: str, manner: CopyOptions) -> None:
    # unbuffered: bytes go past Python
    with open(tmp_path, "r+b", buffering=0) as local:
        facts = Download(verbs.connection, path, manner.progress).run(local)
        if manner.checksum:
            compare(verbs.connection, path, sha256(local))
    # where the host does not tell, what may be private stays so
    if manner.preserve and facts.mode is not None and facts.mtime is not None:
        os.chmod(tmp_path, facts.mode)
        os.utime(tmp_path, (facts.mtime, facts.mtime))
    elif facts.mode is not None and facts.mode & stat.S_IXUSR:
        readable = os.stat(tmp_path).st_mode
        os.chmod(tmp_path, readable | (readable & 0o444) >> 2)


def _put_directory(verbs: FileCommands, local_path: str, path: str, manner: CopyOptions) -> None:
    tmp_path = put_tree(verbs.connection, local_path, path, preserve=manner.preserve, progress=manner.progress)
    try:
        verbs.check("fs_move", f"{tmp_path}/tree", path, idempotent=False, dedicated_session=True)
    finally:
        with contextlib.suppress(Exception):  # an error that led here is the one to report
            verbs.check("fs_remove", tmp_path, idempotent=False, dedicated_session=True)


def _no_checksum(verbs: FileCommands, path: str, manner: CopyOptions) -> None:
    if manner.checksum:
        raise ConfigurationError(
            f"a checksum is one of a file, and this is a directory: {path}",
            host=verbs.connection.host,
            next_step="leave checksum out: ssh itself protects what is on the way",
        )


def put_tree(connection: Connection, local_path: str, path: str, *, preserve: bool, progress: Progress) -> str:
    """A local directory to `tree` in a directory beside `path`, whose name is returned; there it is whole."""
    folder = posixpath.dirname(path)
    options = "-xpf" if preserve else "-xmf"
    # whatever its mode will be, tar must be able to write there first
    mode = (f"{stat.S_IMODE(os.stat(local_path).st_mode) | stat.S_IRWXU:o}",) if preserve else ()
    line = scripts.transfer("take_tree", quoting.quote_path(folder or "."), options, *mode)
    sink = RemoteWriter(connection, line, folder, path)
    try:
        with _tar(["-cf", "-", "-C", local_path, "."], local_path, connection.host, stdout=subprocess.PIPE) as archive:
            while data := archive.stdout.read1(PIECE):
                sink.write(data)
                progress(sink.written, None)
        sink.finish()
    except BaseException:
        sink.cut()
        with contextlib.suppress(Exception):
            connection.request(
                "fs_remove", quoting.quote_path(sink.temporary), idempotent=False, dedicated_session=True
            )
        raise
    return sink.temporary


def get_tree(connection: Connection, path: str, local_path: str, *, preserve: bool, progress: Progress) -> None:
    """A directory of the host into an empty local one."""
    reached = 0
    with RemoteReader(connection, path, tree=True) as reader:
        options = "-xpf" if preserve else "-xmf"
        with _tar([options, "-", "-C", local_path], local_path, connection.host, stdin=subprocess.PIPE) as archive:
            buffer = bytearray(PIECE)
            while count := reader.readinto(buffer):
                archive.stdin.write(memoryview(buffer)[:count])
                reached += count
                progress(reached, None)


@contextlib.contextmanager
def _tar(
    arguments: list[str], local_path: str, host: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[Any]:
    """The tar of this machine; raises `LocalFileError` with what it says where it fails."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(["tar", *arguments], stdin=stdin, stdout=stdout, stderr=errors)
        except FileNotFoundError as error:
            raise program_missing("tar", host) from error
        with process:
            try:
                for pipe in filter(None, (process.stdin, process.stdout)):
                    widen(pipe.fileno())
                yield process
            except BrokenPipeError:
                pass  # it has ended, and says why
            except BaseException:
                process.kill()
                raise
            process.communicate()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise LocalFileError(
            f"tar cannot copy the directory of this machine: {local_path}: {said}",
            next_step="correct what tar names (path, permissions, room, who writes there), and copy it again",
        )
