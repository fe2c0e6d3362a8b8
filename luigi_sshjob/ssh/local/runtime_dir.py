"""The local runtime directory: sockets, locks and nothing that must outlive a login."""

from __future__ import annotations

import contextlib
import getpass
import os
import stat
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


def local_username() -> str:
    """The name of the account that runs this process, or its number if it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def private_opener(path: str, flags: int) -> int:
    """An opener for `open` that creates files with mode 0600."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
