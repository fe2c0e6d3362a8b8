"""The threads that work on the jobs of one host: pools for requests and transfers, and one that watches all jobs.

Their number does not grow with the number of jobs. Requests of several threads are sent to the host together, because
the leader does not wait for one response before it sends the next request.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from luigi_sshjob.errors import LocalResourceError
from luigi_sshjob.retry import HostOutage, SharedRetry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.worker.job_watcher import JobWatcherThread

logger = logging.getLogger("luigi-interface")

_MAX_THREADS = 24
_MAX_TRANSFERS = 8  # each way; together fewer than _MAX_THREADS, because a cancel waits for the transfer of its job
_IDLE_TIMEOUT = 10.0  # seconds after which an idle thread ends


class PriorityThreadPool:
    """Runs calls in the order in which they were submitted, urgent ones first.

    `concurrent.futures.ThreadPoolExecutor` has no priorities, and Python joins its threads at exit: a host that does
    not respond would delay the end of the process. Threads of this pool are daemons, and end when they are idle.
    """

    def __init__(self, name: str, max_threads: int = _MAX_THREADS):
        self._name = name
        self._max_threads = max_threads
        self._changed = threading.Condition()
        self._urgent: deque[Callable[[], None]] = deque()
        self._normal: deque[Callable[[], None]] = deque()
        self._threads = self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[], None], *, urgent: bool = False) -> None:
        """Has a thread run `call`; an exception is logged. Raises `LocalResourceError` if no thread can be started."""
        with self._changed:
            (self._urgent if urgent else self._normal).append(call)
            if self._idle >= len(self._urgent) + len(self._normal):
                self._changed.notify()
            elif self._threads < self._max_threads:
                self._threads += 1
                try:
                    start_thread(self._run, name=f"sshjob {self._name}")
                except LocalResourceError:
                    self._threads -= 1
                    # one of the other threads runs the call later
                    if not self._threads:
                        (self._urgent if urgent else self._normal).pop()
                        raise

    def close(self) -> None:
        """Drops the calls that no thread has started."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except BaseException:
                logger.exception("%s: unexpected error", self._name)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                if self._urgent or self._normal:
                    return (self._urgent or self._normal).popleft()
                self._idle += 1
                notified = self._changed.wait(_IDLE_TIMEOUT)
                self._idle -= 1
                if not notified and not (self._urgent or self._normal):
                    break
            self._threads -= 1
            return None


class HostThreads:
    """The threads for one connection, with what they know of an outage of its host."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.pool = PriorityThreadPool(f"requests {connection.host}")
        # what may take hours must not keep other jobs from being submitted, collected or cancelled
        self.uploads = PriorityThreadPool(f"uploads {connection.host}", _MAX_TRANSFERS)
        self.downloads = PriorityThreadPool(f"downloads {connection.host}", _MAX_TRANSFERS)
        self._outage = HostOutage()
        self.watcher = JobWatcherThread(connection, self._outage)

    def retry(self, timeout: float) -> SharedRetry:
        """Makes the `Retry` of one job."""
        return SharedRetry(timeout, self._outage)

    def close(self) -> None:
        """Ends the threads; those that wait for the host raise `HostUnreachable`."""
        self._outage.close()
        for pool in (self.pool, self.uploads, self.downloads):
            pool.close()
        self.watcher.close()
