"""File locks, which the kernel releases when their process ends."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from luigi_sshjob.ssh.local.runtime_dir import check_private

logger = logging.getLogger("luigi-interface")


class FileLock:
    """A lock between threads and processes alike. A forked child does not hold its parent's locks."""

    def __init__(self, path: Path):
        self.path = path
        self._fd: int | None = None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free."""
        fd = self._open()
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # a lock on a removed file excludes no process that opens the path now
            acquired = self._is_at_path(fd)
        except BlockingIOError:
            acquired = False
        except BaseException:
            os.close(fd)
            raise
        if not acquired:
            os.close(fd)
            return False
        self._fd = fd
        _held.add(self)
        return True

    def is_current(self) -> bool:
        """Whether the lock is held and its file has not been removed or replaced."""
        return self._fd is not None and self._is_at_path(self._fd)

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except OSError:
            return False

    def acquire(self, *, deadline: float, waiting: Callable[[], None] = lambda: None) -> bool:
        """Wait for the lock until `deadline` (`time.monotonic()`); `waiting` is called before each retry."""
        while not self.try_acquire():
            if time.monotonic() > deadline:
                return False
            waiting()
            time.sleep(0.02)
        return True

    def release(self, *, remove: bool = False) -> None:
        """Release the lock, even if a forked process has a copy of the descriptor; optionally `remove` its file."""
        if self._fd is not None:
            if remove and self._is_at_path(self._fd):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close the descriptor without unlocking: in a forked child the parent keeps the lock."""
        _held.discard(self)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor, for a process that is to share the lock."""
        assert self._fd is not None
        return self._fd

    def _open(self) -> int:
        check_private(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            # the runtime directory was removed while this process was running
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.path.parent)
            return os.open(self.path, flags, 0o600)


class WaitLogger:
    """Logs `message()` after 5 seconds of waiting, then every 30; call it in the waiting loop."""

    def __init__(self, message: Callable[[], str]):
        self._message = message
        self._next = time.monotonic() + 5

    def __call__(self) -> None:
        """Log the message if it is due."""
        if time.monotonic() > self._next:
            self._next += 30
            logger.info("%s", self._message())


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_after_fork)
