"""Local temporary files and directories, and the removal of those that killed processes left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator

_NAME = re.compile(r"\.sshjob-tmp\.[0-9a-f]{16}")
_MAX_AGE = 24 * 3600  # seconds


@contextlib.contextmanager
def temporary_path(folder: str, *, directory: bool, private: bool) -> Iterator[str]:
    """Creates an empty file or directory in `folder`, which only its owner may access if `private`.

    First removes what killed processes of this account left in `folder` more than a day ago. After an exception in the
    block the file or directory is removed.
    """
    sweep(folder or ".")
    # independent of the final name, which may be as long as the file system allows
    path = os.path.join(folder, f".sshjob-tmp.{secrets.token_hex(8)}")
    if directory:
        os.mkdir(path, 0o700 if private else 0o777)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    try:
        fd = _open(path)
        try:
            # marks the path as in use; on file systems without locks sweep removes nothing
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(fd)
    except BaseException:
        _remove(path)
        raise


def _remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.remove(path)


def sweep(folder: str) -> None:
    """Removes what killed processes of this account left in `folder` more than a day ago."""
    # the folder may be writable but not readable
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    # tar run by root gives its directory the owner that it has on the host
    may_remove = os.geteuid() in (0, status.st_uid)
    if not may_remove or time.time() - status.st_mtime < _MAX_AGE or entry.is_symlink():
        return
    fd = _open(entry.path)
    try:
        # fails while a process still copies into it, however slowly
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(entry.path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    # some network file systems lock only files that are open for writing; directories cannot be
    flags = os.O_RDONLY if stat.S_ISDIR(os.lstat(path).st_mode) else os.O_RDWR
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
