"""What works on the jobs of one host in a process that holds many of them: some threads that ask, one that watches.

The number of threads does not grow with the jobs; requests of several threads go to the host together, as the leader
sends them on without waiting for the answer to one before the next.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from luigi_sshjob.retry import HostOutage, SharedRetry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.worker.job_watcher import JobWatcherThread

logger = logging.getLogger("luigi-interface")

_HANDS = 8
_IDLE = 10.0  # seconds after which a thread that has nothing to do ends


class PriorityThreadPool:
    """Does pieces of work in the order in which they come, some of them at the same time."""

    def __init__(self, name: str, most: int = _HANDS):
        self._name = name
        self._most = most
        self._changed = threading.Condition()
        self._urgent: deque[Callable[[], None]] = deque()
        self._waiting: deque[Callable[[], None]] = deque()
        self._count = self._idle = 0
        self._closed = False

    def do(self, work: Callable[[], None], *, urgent: bool = False) -> None:
        """Some time soon, `urgent` work before other; what it raises is logged."""
        with self._changed:
            (self._urgent if urgent else self._waiting).append(work)
            if self._idle >= len(self._urgent) + len(self._waiting):
                self._changed.notify()
            elif self._count < self._most:
                self._count += 1
                threading.Thread(target=self._serve, name=f"sshjob {self._name}", daemon=True).start()

    def close(self) -> None:
        """What has not begun will not."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:
                logger.exception("%s: an error that nobody was waiting for", self._name)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                if self._urgent or self._waiting:
                    return (self._urgent or self._waiting).popleft()
                self._idle += 1
                woken = self._changed.wait(_IDLE)
                self._idle -= 1
                if not woken and not (self._urgent or self._waiting):
                    break
            self._count -= 1
            return None


class HostThreads:
    """For one connection."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.outage = HostOutage()
        self.hands = PriorityThreadPool(f"asks {connection.host}")
        self.lookout = JobWatcherThread(connection, self.outage)

    def patience(self, timeout: float) -> SharedRetry:
        """For one job, from now on."""
        return SharedRetry(timeout, self.outage)

    def close(self) -> None:
        """Nothing more is asked; whoever waits for the host is told that it does not answer."""
        self.outage.close()
        self.hands.close()
        self.lookout.close()
