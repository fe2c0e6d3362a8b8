"""The user's ssh configuration, as far as both transports care."""

from __future__ import annotations

import os


def config_fingerprint(ssh_config: str) -> tuple[str, ...]:
    """Tells one state of the user's configuration from another."""
    path = os.path.expanduser(ssh_config or "~/.ssh/config")
    try:
        found = os.stat(path)
    except OSError:
        return (path,)
    return path, str(found.st_mtime_ns), str(found.st_size)
