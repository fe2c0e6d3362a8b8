"""Holds the locks of Luigi's log handlers during a fork."""

from __future__ import annotations

import functools
import logging
import os

_held: list[logging.Handler] = []


@functools.cache
def hold_during_fork() -> None:
    """Prevents that a child inherits a log stream in the middle of a write of another thread.

    The logging module replaces its own locks in the child, but the lock of the stream below would stay locked forever.
    """
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_held.clear)


def _acquire() -> None:
    part: logging.Logger | None = logging.getLogger("luigi-interface")
    while part:
        for handler in part.handlers:
            handler.acquire()
            _held.append(handler)
        part = part.parent if part.propagate else None


def _release() -> None:
    while _held:
        _held.pop().release()
