"""Runs callbacks of other threads in the main thread while Luigi's worker waits for results."""

from __future__ import annotations

import logging
import multiprocessing.queues
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("luigi-interface")

_SHORTEST_WAIT = 0.001  # seconds; the least for which a multiprocessing queue waits
_SCHEDULER_PAUSE = 0.02  # seconds between two messages to the scheduler that may wait


class MainThreadQueue:
    """Replaces the queue of results in Luigi's worker, and is its event loop.

    Luigi's main loop waits in one place, in `get`. There the main thread also runs the callbacks of other threads, so
    that users' code and the scheduler are called by one thread only. `get` repeats these steps until it has a result:

    1. run what was passed to `call_soon`, until there is a result or nothing is left;
    2. return a result of a task in this process (`put_result`);
    3. run one callback of `call_latest`, if the last one was long enough ago;
    4. wait for a result of a task in another process (`put`), which arrives through `wrapped`. So does None, which
       other threads put there to wake up the main thread.

    `check_signals` is called between callbacks, and raises if the worker has to end.
    """

    def __init__(self, wrapped: multiprocessing.queues.Queue[Any], check_signals: Callable[[], None]):
        self._wrapped = wrapped
        self._check_signals = check_signals
        self._results: deque[Any] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._latest: dict[str, dict[str, Callable[[], None]]] = {}  # by task and kind
        self._next_latest = 0.0
        self._lock = threading.Lock()
        self._woken = False

    def __reduce__(self) -> Any:
        # a process that is spawned, not forked, only needs to put a result
        return _identity, (self._wrapped,)

    def put(self, result: Any) -> None:
        """Adds a result; for the processes of local tasks."""
        self._wrapped.put(result)

    def put_result(self, result: Any) -> None:
        """Adds a result; for the main thread."""
        self._results.append(result)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Has the main thread run `call`; for any thread."""
        self._calls.append(call)
        self._wake_up()

    def call_latest(self, task_id: str, kind: str, call: Callable[[], None]) -> None:
        """Has the main thread run `call` later, unless another call of this kind replaces it; for any thread."""
        with self._lock:
            self._latest.setdefault(task_id, {})[kind] = call
        self._wake_up()

    def flush(self, task_id: str) -> None:
        """Runs all `call_latest` callbacks of a task; for the main thread."""
        for call in self.discard(task_id):
            _run(call)

    def discard(self, task_id: str) -> list[Callable[[], None]]:
        """Removes and returns all `call_latest` callbacks of a task, which would report that it is still running."""
        with self._lock:
            return list(self._latest.pop(task_id, {}).values())

    def is_ready(self) -> bool:
        """Whether `get` has something to do before it waits; for the main thread."""
        return bool(self._results or self._calls)

    def get(self, timeout: float) -> Any:
        """Returns the next result, as `queue.Queue.get` does. Raises `queue.Empty` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._run_calls()
            if self._results:
                return self._results.popleft()
            self._run_latest()
            try:
                result = self._wrapped.get(timeout=self._wait_time(deadline))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise
                continue
            if result is not None:
                return result
            self._woken = False

    def run_calls(self, seconds: float) -> None:
        """Runs what is passed to `call_soon` for some seconds; returns no results."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while self._calls:
                self._calls.popleft()()
            time.sleep(0.01)

    def close(self) -> None:
        """Closes the queue, as Luigi does."""
        self._wrapped.close()

    def _wake_up(self) -> None:
        with self._lock:
            if self._woken:
                return
            self._woken = True
        self._wrapped.put(None)

    def _run_calls(self) -> None:
        self._check_signals()
        while self._calls and not self._results:
            self._calls.popleft()()
            self._check_signals()

    def _run_latest(self) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._latest or now < self._next_latest:
                return
            self._next_latest = now + _SCHEDULER_PAUSE
            task_id = next(iter(self._latest))
            calls = self._latest.pop(task_id)
            call = calls.pop(next(iter(calls)))
            if calls:
                # behind those of other tasks
                self._latest[task_id] = calls
        _run(call)

    def _wait_time(self, deadline: float) -> float:
        end = min(deadline, self._next_latest) if self._latest else deadline
        return max(_SHORTEST_WAIT, end - time.monotonic())


def _run(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - any failure of the scheduler; the job must not lose its worker
        logger.debug("a message was not sent to the scheduler: %s", error)


def _identity(wrapped: Any) -> Any:
    return wrapped
