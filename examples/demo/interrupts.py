"""Signals that end the demonstration. They have an effect only where it waits: what it has started is known then."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_raised: list[int] = []


class Interrupted(Exception):
    """One of these signals has arrived."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.exit_status = 128 + signum


def defer() -> None:
    """From now on, these signals have an effect in `check` only."""
    for signum in _SIGNALS:
        signal.signal(signum, lambda number, _: _received.append(number))
    # one that examples/quickstart.sh has blocked until now
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def check() -> None:
    """Raise `Interrupted` if a signal has arrived. Later signals have no effect: nothing interrupts cleaning up."""
    if _received and not _raised:
        _raised.append(_received[0])
        raise Interrupted(_received[0])


def exit_status(otherwise: int) -> int:
    """Return the exit status for the first signal that has arrived, or the other one."""
    return 128 + _received[0] if _received else otherwise


def wait_until(condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
    """Wait until the condition holds; False if it does not within these seconds. Raises `Interrupted`."""
    deadline = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
