"""The local runtime directory: sockets, locks and other files that need not survive a logout."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import stat
from pathlib import Path

from luigi_sshjob.errors import ConfigurationError

# sun_path holds 104 bytes on macOS and 108 on Linux; ssh binds a name with 17 more characters, then links it
_SOCKET_PATH_LIMIT = 104 - 17 - 1


def runtime_dir(configured: str = "") -> Path:
    """The directory, created with mode 0700 if it is missing.

    Raises `ConfigurationError` if it cannot be created, is a link, belongs to another account or is open to others, or
    if another account could replace it.
    """
    # not $XDG_RUNTIME_DIR or $TMPDIR: they are set in a login, not in cron, and both must use the same connection
    path = Path(configured or f"/tmp/luigi-sshjob-{os.geteuid()}")  # noqa: S108  # its owner and mode are checked
    try:
        path = path.expanduser()
        # parents, too, are private: with a umask of 002 others could replace the directory
        for missing in reversed([each for each in (path, *path.parents) if not os.path.lexists(each)]):
            missing.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"cannot create the runtime directory: {path}: {getattr(error, 'strerror', None) or error}",
            next_step="fix the reason, or set runtime_dir in [sshjob] to another directory",
        ) from error
    _check(path, status)
    _check_parents(path)
    return path


def check_private(path: Path) -> None:
    """Raise `ConfigurationError` if the directory was removed, and created again by another account.

    Call it before trusting a file in it, such as the socket of a leader.
    """
    with contextlib.suppress(FileNotFoundError):
        _check(path, os.lstat(path))


def _check(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(
            f"the runtime directory is a symbolic link: {path}",
            next_step=f"remove it, or set runtime_dir in [sshjob] to the directory itself: {os.path.realpath(path)}",
        )
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(
            f"the runtime directory is not private to this account: {path}",
            next_step=f"chmod 700 it (its mode is {status.st_mode & 0o777:o}), or set runtime_dir in [sshjob]",
        )


def _check_parents(path: Path) -> None:
    """Checks the directories above the path, and above what a link among them leads to."""
    real = Path(os.path.realpath(path))
    for parent in dict.fromkeys([*Path(os.path.abspath(path)).parents, *real.parents]):
        status = os.stat(parent)
        # what is in a sticky directory can be replaced by its owner only
        writable = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if writable or status.st_uid not in (0, os.geteuid(), _unmapped_uid()):
            reason = "can be written by other accounts" if writable else "belongs to another account"
            raise ConfigurationError(
                f"another account can replace the runtime directory: {path}: its parent {parent} {reason}",
                next_step="set runtime_dir in [sshjob] to a directory below your home directory, or change the parent",
            )


def _unmapped_uid() -> int:
    """The owner that files of root seem to have in a user namespace without root (user_namespaces(7)); or -1."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return -1


def socket_path(directory: Path, name: str) -> str:
    """The path of a control socket; raises `ConfigurationError` if it is too long for ssh to bind."""
    path = str(directory / name)
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise ConfigurationError(
            f"path too long for a control socket: {path} (at most {_SOCKET_PATH_LIMIT} bytes)",
            next_step="set runtime_dir in [sshjob] to a shorter path",
        )
    return path


@functools.cache
def local_username() -> str:
    """The name of the account that runs this process, or its number if it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def private_opener(path: str, flags: int) -> int:
    """An opener for `open` that creates files with mode 0600."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
