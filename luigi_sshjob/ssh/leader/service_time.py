"""How long a host needs for a response."""

from __future__ import annotations

import math
import time

_GROWTH = 1.002  # of the time of the network with each response: it may have become slower


class ServiceTime:
    """Tells the time of the host from that of the network; it serves one request after the other."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """For which the last response has kept the host busy."""
        self._network = math.inf
        self._answered_at = 0.0

    def record(self, sent_at: float) -> None:
        """Notes a response that has arrived just now to a request of that time (`time.monotonic()`)."""
        now = time.monotonic()
        took = now - max(sent_at, self._answered_at)
        if sent_at >= self._answered_at:
            # it was alone; the fastest response has taken hardly more than the way there and back
            self._network = min(took, self._network * _GROWTH)
            took -= self._network
        self.seconds, self._answered_at = took, now
