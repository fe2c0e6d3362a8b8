"""Temporary files and directories of this machine, and what of them a process has left that was killed."""

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
_OLD = 24 * 3600  # seconds


@contextlib.contextmanager
def temporary(folder: str, *, directory: bool, private: bool) -> Iterator[str]:
    """The path of an empty new file or directory in `folder`, nobody else's to read if `private`.

    Removes what killed processes of this account have left there a day ago or more. What is still at the path after
    an exception goes too.
    """
    _sweep(folder or ".")
    # short: the name of what it becomes may be as long as a name can be
    path = os.path.join(folder, f".sshjob-tmp.{secrets.token_hex(8)}")
    if directory:
        os.mkdir(path, 0o700 if private else 0o777)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    try:
        held = _open(path)
        try:
            # as long as this process lives; where there are no such locks nothing is swept
            with contextlib.suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(held)
    except BaseException:
        remove(path)
        raise


def remove(path: str) -> None:
    """A file, or a directory with all that is in it, as far as that can be done."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.remove(path)


def _sweep(folder: str) -> None:
    # a folder that may be written to and not read has nothing to be seen
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_left(entry)


def _remove_if_left(entry: os.DirEntry[str]) -> None:
    facts = entry.stat(follow_symlinks=False)
    # root's tar gives its directory the owner that it has on the host
    ours = os.geteuid() in (0, facts.st_uid)
    if not ours or time.time() - facts.st_mtime < _OLD or entry.is_symlink():
        return
    fd = _open(entry.path)
    try:
        # raises where somebody still copies into it, however slowly
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(entry.path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    # some file systems of a network lock only what is open for writing, which a directory cannot be
    how = os.O_RDONLY if stat.S_ISDIR(os.lstat(path).st_mode) else os.O_RDWR
    return os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW)
