"""Locks that the kernel frees with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from luigi_sshjob.ssh.local.runtime_dir import check_private


class FileLock:
    """A lock that the kernel frees with the process that holds it. Exclusive between threads and processes alike.

    A forked child does not hold its parent's locks.
    """

    def __init__(self, path: Path):
        self.path = path
        self._fd: int | None = None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Takes the lock if nobody has it."""
        fd = self._open()
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # a file that was removed meanwhile is locked by nobody who opens it now
            taken = self._is_at_path(fd)
        except BlockingIOError:
            taken = False
        except BaseException:
            os.close(fd)
            raise
        if not taken:
            os.close(fd)
            return False
        self._fd = fd
        _held.add(self)
        return True

    def stands(self) -> bool:
        """Whether it is held, and nobody has removed its file to put another in its place."""
        return self._fd is not None and self._is_at_path(self._fd)

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except OSError:
            return False

    def acquire(self, *, deadline: float, waiting: Callable[[], None] = lambda: None) -> bool:
        """Waits for the lock until `deadline` (`time.monotonic()`); `waiting` is called before each new try."""
        while not self.try_acquire():
            if time.monotonic() > deadline:
                return False
            waiting()
            time.sleep(0.02)
        return True

    def release(self, *, remove: bool = False) -> None:
        """Frees the lock, also where a process forked in between has a copy of the descriptor; `remove`s its file."""
        if self._fd is not None:
            if remove and self._is_at_path(self._fd):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """For a forked child: closes its copy, and leaves the lock to its parent."""
        _held.discard(self)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.forget()

    def fileno(self) -> int:
        """For a process that is to share it."""
        assert self._fd is not None
        return self._fd

    def _open(self) -> int:
        check_private(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            # something tidied the runtime directory up while we were running
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.path.parent)
            return os.open(self.path, flags, 0o600)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_after_fork)
