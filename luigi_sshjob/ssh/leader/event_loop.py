"""The leader's event loop: a selector that other threads can wake, and timers."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time


class EventLoop:
    """Calls the callback that was registered as a file's `data` with the events on the file."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.selector.register(self._woken, selectors.EVENT_READ, lambda _: self._woken.recv(1000))

    def wake(self) -> None:
        """Ends `run_until` early; for other threads."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def run_until(self, deadline: float) -> None:
        """Waits for events until `deadline` (`time.monotonic()`), and runs their callbacks."""
        for key, events in self.selector.select(max(0.0, deadline - time.monotonic())):
            key.data(events)

    def close(self) -> None:
        """Closes all descriptors; also for a forked child."""
        self.selector.close()
        self._wake.close()
        self._woken.close()


class Timer:
    """Is due at once, and then `interval` seconds after each time it was found due."""

    def __init__(self, interval: float):
        self._interval = interval
        self.next = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is due; starts the next interval then."""
        now = time.monotonic()
        if now < self.next:
            return False
        self.next = now + self._interval
        return True
