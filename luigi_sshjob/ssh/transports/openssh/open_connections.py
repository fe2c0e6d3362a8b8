"""Which shared connections are open: a file next to each control socket says where it leads."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from pathlib import Path

from luigi_sshjob.ssh.local.runtime_dir import private_opener

_SUFFIX = ".opened"


@dataclasses.dataclass(frozen=True)
class OpenConnection:
    """A connection that was opened by this package. Times are in seconds."""

    host: str
    opened: float
    """`time.time()`."""
    keep: int
    """How long it is kept after its last use."""
    control_path: str


def is_open(control_path: str) -> bool:
    """Whether a master accepts connections on its socket; starts no process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(control_path)
        except (TimeoutError, BlockingIOError):
            # busy or stopped (Linux fails immediately when the socket's backlog is full): another login would not help
            return True
        except OSError:
            return False
    return True


def record_opened(prefix: str, connection: OpenConnection) -> None:
    """Remember where the connection leads."""
    with open(prefix + _SUFFIX, "w", encoding="utf-8", opener=private_opener) as file:
        json.dump(dataclasses.asdict(connection), file)


def forget_opened(prefix: str) -> None:
    """Forget a connection that was closed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(prefix + _SUFFIX)


def open_connections(directory: Path) -> list[tuple[str, OpenConnection]]:
    """The open connections by their keys, in the order in which they were opened; what has ended is forgotten."""
    found = []
    for path in directory.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            connection = OpenConnection(**json.loads(path.read_text("utf-8")))
            if is_open(connection.control_path):
                found.append((path.stem, connection))
            else:
                path.unlink(missing_ok=True)
    return sorted(found, key=lambda each: each[1].opened)
