"""Transfers of directories as tar archives, without a round trip for each file."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from luigi_sshjob.errors import LocalFileError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.starting import start
from luigi_sshjob.ssh.transports.error_mapping import program_missing
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.streams import CHUNK, RemoteReader, RemoteWriter, enlarge_pipe


def send_directory(connection: Connection, local_path: str, path: str, *, preserve: bool, progress: Progress) -> str:
    """Copies a local directory to `tree` in a temporary directory next to `path`, and returns the latter's path."""
    folder = posixpath.dirname(path)
    # tar on the host must be able to write into the directory
    mode = (f"{stat.S_IMODE(os.stat(local_path).st_mode) | stat.S_IRWXU:o}",) if preserve else ()
    line = scripts.stream_command("receive_tree", quoting.quote_path(folder or "."), _extract_option(preserve), *mode)
    writer = RemoteWriter(connection, line, folder, path)
    try:
        arguments = ["-cf", "-", "-C", local_path, "."]
        with _tar(arguments, local_path, connection.host, stdout=subprocess.PIPE) as tar:
            while data := tar.stdout.read1(CHUNK):
                writer.write(data)
                progress(writer.written, None)
        writer.finish()
    except BaseException:
        writer.disconnect()
        with contextlib.suppress(Exception):  # report the error that led here
            tmp_path = quoting.quote_path(writer.tmp_path)
            connection.request("fs_remove", tmp_path, idempotent=False, dedicated_session=True)
        raise
    return writer.tmp_path


def receive_directory(
    connection: Connection, path: str, local_path: str, *, preserve: bool, progress: Progress
) -> None:
    """Copies the content of a directory on the host into an empty local one."""
    received = 0
    arguments = [_extract_option(preserve), "-", "-C", local_path]
    with (
        RemoteReader(connection, path, tree=True) as reader,
        _tar(arguments, local_path, connection.host, stdin=subprocess.PIPE) as tar,
    ):
        buffer = bytearray(CHUNK)
        while count := reader.readinto(buffer):
            tar.stdin.write(memoryview(buffer)[:count])
            received += count
            progress(received, None)


def _extract_option(preserve: bool) -> str:
    return "-xpf" if preserve else "-xmf"


@contextlib.contextmanager
def _tar(
    arguments: list[str], local_path: str, host: str, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[Any]:
    """Runs the local tar. Raises `LocalFileError` with its error messages if it fails."""
    # options of the user's own tars, such as --exclude
    environment = {name: value for name, value in os.environ.items() if name != "TAR_OPTIONS"}
    with tempfile.TemporaryFile() as errors:
        try:
            options: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": errors, "env": environment}
            process = start(subprocess.Popen, ["tar", *arguments], **options)
        except FileNotFoundError as error:
            raise program_missing("tar", host) from error
        with process:
            try:
                for pipe in filter(None, (process.stdin, process.stdout)):
                    enlarge_pipe(pipe.fileno())
                yield process
            except BrokenPipeError:
                pass  # tar has exited; its stderr has the reason
            except BaseException:
                process.kill()
                raise
            process.communicate()
        errors.seek(0)
        stderr = errors.read().decode("utf-8", "replace").strip()
    if process.returncode:
        raise LocalFileError(
            f"tar cannot copy the local directory: {local_path}: {stderr}",
            next_step="correct what tar names (path, permissions, a full disk, changed files), and copy it again",
        )
