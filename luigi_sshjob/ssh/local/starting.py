"""Starts programs while no other thread forks, and threads."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from luigi_sshjob.error_context import is_thread_limit, no_thread

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


def start_thread(target: Callable[..., object], *args: object, name: str | None = None) -> threading.Thread:
    """Start a daemon thread. Raises `LocalResourceError` if the limit on processes or memory does not allow it."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if not is_thread_limit(error):
            raise
        raise no_thread() from error
    return thread
