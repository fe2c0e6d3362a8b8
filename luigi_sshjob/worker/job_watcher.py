"""A thread that watches all jobs of a host for a worker."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from luigi_sshjob.jobs.watcher import JobWatcher, WatchedJob
from luigi_sshjob.retry import HostOutage
from luigi_sshjob.ssh.connection import Connection

logger = logging.getLogger("luigi-interface")


class JobWatcherThread:
    """Runs a `JobWatcher` from the first job until `close`. All methods are for any thread."""

    def __init__(self, connection: Connection, outage: HostOutage):
        self._watcher = JobWatcher(connection, outage)
        self._changes: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._closed = False
        self._start = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"sshjob watches {connection.host}", daemon=True)

    def add(self, job: WatchedJob) -> None:
        """Starts to watch a job."""
        self._change(partial(self._watcher.add, job))

    def remove(self, job: WatchedJob) -> None:
        """Stops watching a job."""
        self._changes.append(partial(self._watcher.remove, job))
        self._watcher.wake()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Calls after that time, and up to two seconds more: while a thread watches, no other one has to wait."""
        self._change(partial(self._later.append, (time.monotonic() + seconds, call)))

    def close(self) -> None:
        """Ends the thread after its current turn."""
        self._closed = True
        self._watcher.wake()

    def _change(self, change: Callable[[], None]) -> None:
        self._changes.append(change)
        with self._start:
            if self._thread.ident is None:
                self._thread.start()
        self._watcher.wake()

    def _run(self) -> None:
        while not self._closed:
            while self._changes:
                self._changes.popleft()()
            self._watcher.turn()
            self._call_due()
        self._watcher.close()

    def _call_due(self) -> None:
        now = time.monotonic()
        due = [call for at, call in self._later if at <= now]
        self._later[:] = [entry for entry in self._later if entry[0] > now]
        for call in due:
            try:
                call()
            except BaseException:
                logger.exception("unexpected error")
