"""Starts programs while no other thread forks."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Any, TypeVar

AnyProcess = TypeVar("AnyProcess", bound="subprocess.Popen[Any]")

# A process that another thread forks meanwhile has a copy of the pipe on which Popen waits for the exec. Popen would
# block until that process ends, and without a limit if that waits for what is being started, as a Luigi task does.
# Reentrant, because Popen calls these functions itself for a preexec_fn.
_starting = threading.RLock()
os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release)


def start(kind: type[AnyProcess], argv: list[str], **kwargs: Any) -> AnyProcess:
    """Return `kind(argv, **kwargs)`, a kind of `subprocess.Popen`."""
    with _starting:
        return kind(argv, **kwargs)
