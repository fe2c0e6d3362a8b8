"""Directories to the host and back, each as one archive in one stream: thousands of small files cost no round trips."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from luigi_sshjob import shell
from luigi_sshjob.errors import LocalFileError
from luigi_sshjob.progress import Progress
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.messages import no_program
from luigi_sshjob.streams import PIECE, RemoteReader, RemoteSink, widen


def put_tree(connection: Connection, local_path: str, path: str, *, preserve: bool, progress: Progress) -> str:
    """A local directory to `tree` in a directory beside `path`, whose name is returned; there it is whole."""
    folder = posixpath.dirname(path)
    options = "-xpf" if preserve else "-xmf"
    # whatever its mode will be, tar must be able to write there first
    mode = (f"{stat.S_IMODE(os.stat(local_path).st_mode) | stat.S_IRWXU:o}",) if preserve else ()
    line = shell.transfer("take_tree", shell.quote_path(folder or "."), options, *mode)
    sink = RemoteSink(connection, line, folder, path)
    try:
        with _tar(["-cf", "-", "-C", local_path, "."], local_path, connection.host, stdout=subprocess.PIPE) as archive:
            while data := archive.stdout.read1(PIECE):
                sink.write(data)
                progress(sink.written, None)
        sink.finish()
    except BaseException:
        sink.cut()
        with contextlib.suppress(Exception):
            connection.check("fs_remove", shell.quote_path(sink.temporary), repeatable=False, bounded=False)
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
            raise no_program("tar", host) from error
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
