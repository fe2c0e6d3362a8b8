"""The parts of the user's ssh configuration that both transports need."""

from __future__ import annotations

import os


def config_fingerprint(ssh_config: str) -> tuple[str, ...]:
    """Path, modification time and size of the configuration file; changes when the file is edited."""
    path = os.path.expanduser(ssh_config or "~/.ssh/config")
    try:
        status = os.stat(path)
    except OSError:
        return (path,)
    return path, str(status.st_mtime_ns), str(status.st_size)
