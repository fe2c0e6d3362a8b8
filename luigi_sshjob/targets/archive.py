"""Transfers of directories as tar archives, without a round trip for each file."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterator

from luigi_sshjob.errors import LocalFileError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.targets.extraction import Announced, Extraction
from luigi_sshjob.targets.progress import Progress
from luigi_sshjob.targets.source import not_regular, open_regular
from luigi_sshjob.targets.streams import CHUNK, RemoteReader, RemoteWriter
from luigi_sshjob.targets.tree import trailer_size, walk


def send_directory(connection: Connection, local_path: str, path: str, *, preserve: bool, progress: Progress) -> str:
    """Copies a local directory to a temporary one for `path`, and returns its path.

    Raises `LocalFileError` for a FIFO, socket or device. Owners, setuid and setgid bits are not sent.
    """
    folder = posixpath.dirname(path)
    # tar on the host must be able to write into the directory
    mode = (f"{os.stat(local_path).st_mode & 0o777 | stat.S_IRWXU:o}",) if preserve else ()
    words = (quoting.quote_path(folder or "."), secrets.token_hex(16), "preserve" if preserve else "", *mode)
    writer = RemoteWriter(connection, scripts.stream_command("receive_tree", *words), folder, path)
    try:
        out = io.BufferedWriter(writer, CHUNK)
        for _ in _archive(local_path, out):
            progress(writer.written, None)
        out.flush()
        out.detach()
        writer.finish()
    except BaseException:
        writer.disconnect()
        with contextlib.suppress(Exception):  # report the error that led here
            tmp_path = quoting.quote_path(writer.tmp_path)
            connection.request("fs_discard", tmp_path, idempotent=False, dedicated_session=True)
        raise
    return writer.tmp_path


def receive_directory(
    connection: Connection, path: str, local_path: str, *, preserve: bool, progress: Progress, confined: bool = False
) -> None:
    """Copies the content of a directory on the host into an empty local one; see `Extraction` for what is refused."""
    with RemoteReader(connection, path, tree=True) as reader:
        count, size = reader.announced
        free = shutil.disk_usage(local_path).free
        if size > free:
            raise LocalFileError(
                f"not enough free space for the directory: {size} bytes are needed, {free} are free: {local_path}",
                next_step="free space, or copy it to another file system",
            )
        announced = Announced(count, size)
        Extraction(reader, local_path, announced, preserve=preserve, progress=progress, confined=confined).run()


def _archive(root: str, out: io.BufferedWriter[RemoteWriter]) -> Iterator[None]:
    """Writes the archive of a local directory; yields after each file or chunk."""
    links: dict[tuple[int, int], str] = {}
    size = 0
    for path, name in walk(root):
        status = os.lstat(path)
        entry = tarfile.TarInfo(name)
        entry.mode, entry.mtime = status.st_mode & 0o777, int(status.st_mtime)
        identity = status.st_dev, status.st_ino
        if stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
        elif not stat.S_ISREG(status.st_mode):
            raise not_regular(path)
        elif status.st_nlink > 1 and identity in links:
            entry.type, entry.linkname = tarfile.LNKTYPE, links[identity]
        else:
            links.update({identity: name} if status.st_nlink > 1 else {})
            entry.size = status.st_size
        # busybox does not know the pax format
        header = entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        out.write(header)
        size += len(header)
        if entry.isreg():
            for data in _content(path, entry.size):
                out.write(data)
                size += len(data)
                yield
        yield
    out.write(bytes(trailer_size(size)))


def _content(path: str, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, filled up to a whole block."""
    left = size
    with open_regular(path, follow=False) as file:
        while left:
            data = file.read(min(left, CHUNK))
            if not data:
                raise LocalFileError(
                    f"a local file was truncated while it was copied: {path}",
                    next_step="wait for the program that writes the file, and copy it again",
                )
            left -= len(data)
            yield data
    if size % tarfile.BLOCKSIZE:
        yield bytes(-size % tarfile.BLOCKSIZE)
