"""The local runtime directory: sockets, locks and nothing that must outlive a login."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import stat
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from luigi_sshjob.errors import ConfigurationError

# sun_path holds 104 bytes on macOS and 108 on Linux; ssh binds a name of 17 characters more, then links it
_SOCKET_PATH_LIMIT = 104 - 17 - 1


def runtime_dir(configured: str = "") -> Path:
    """The directory, made 0700 where it is missing.

    Raises `ConfigurationError` where it belongs to another account, is open to others, or is so long a
    path that no socket could be made in it.
    """
    # not $XDG_RUNTIME_DIR or $TMPDIR: a login has them, cron has not, and both must meet on one connection
    path = Path(configured or f"/tmp/luigi-sshjob-{os.geteuid()}")
    try:
        path = path.expanduser()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"the runtime directory cannot be made: {path}: {getattr(error, 'strerror', None) or error}",
            next_step="make room for it, or set runtime_dir in [sshjob] to a directory that can be made",
        ) from error
    _refuse_others(path, found)
    return path


def check_private(path: Path) -> None:
    """Raises `ConfigurationError` where a directory that was tidied up was made anew by somebody else meanwhile.

    To be called whenever something in it is to be trusted: leader and peers send each other pickles.
    """
    with contextlib.suppress(FileNotFoundError):
        _refuse_others(path, os.lstat(path))


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"the runtime directory is not a directory of this account alone: {path}",
            next_step=f"chmod 700 it (it is {found.st_mode & 0o777:o}), or set runtime_dir in [sshjob] to another",
        )


def socket_path(directory: Path, name: str) -> str:
    """A path for a control socket; raises `ConfigurationError` where ssh could not bind it."""
    path = str(directory / name)
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise ConfigurationError(
            f"this is too long a path for a control socket: {path} (at most {_SOCKET_PATH_LIMIT} bytes)",
            next_step="set runtime_dir in [sshjob] to a shorter path",
        )
    return path


def account() -> str:
    """The name of the account that runs this process, or its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def private(path: str, flags: int) -> int:
    """An opener for `open`: the file is this account's alone."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


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
