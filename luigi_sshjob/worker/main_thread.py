"""What reaches the main thread of a worker while it waits for the end of tasks."""

from __future__ import annotations

import logging
import multiprocessing.queues
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("luigi-interface")

_SHORTEST = 0.001  # seconds; a queue of multiprocessing does not wait for less
_PAUSE_OF_POSTS = 0.02  # seconds between two messages to the scheduler that can wait


class MainThreadQueue:
    """Takes the place of the queue in which Luigi's worker looks for results of tasks: those of processes come through
    that queue, `wrapped`; those of tasks without a process are put here, and while the main thread waits it does the
    `errand`s of other threads. User code and the scheduler are thereby called by one thread alone. `end_if_told`
    raises where the worker is to end.
    """

    def __init__(self, wrapped: multiprocessing.queues.Queue[Any], end_if_told: Callable[[], None]):
        self._wrapped = wrapped
        self._end_if_told = end_if_told
        self._results: deque[Any] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._posts: dict[tuple[str, str], Callable[[], None]] = {}
        self._next_post = 0.0
        self._lock = threading.Lock()
        self._woken = False

    def __reduce__(self) -> Any:
        # where a process is started anew (spawn), all it needs is a way to put a result
        return _same, (self._wrapped,)

    def put(self, result: Any) -> None:
        """As that of the queue; also for processes."""
        self._wrapped.put(result)

    def put_here(self, result: Any) -> None:
        """For the main thread."""
        self._results.append(result)

    def errand(self, errand: Callable[[], None]) -> None:
        """Has the main thread do something soon; for all threads."""
        self._errands.append(errand)
        self._wake()

    def post(self, task_id: str, kind: str, message: Callable[[], None]) -> None:
        """A message to the scheduler that may wait, and that a later one of the kind replaces; for all threads."""
        with self._lock:
            self._posts[task_id, kind] = message
        self._wake()

    def send_posts_of(self, task_id: str) -> None:
        """Now; for the main thread."""
        for message in self.take_posts_of(task_id):
            _send(message)

    def take_posts_of(self, task_id: str) -> list[Callable[[], None]]:
        """They are not sent: of a task that runs no more one would say that it does."""
        with self._lock:
            kinds = [key for key in self._posts if key[0] == task_id]
            return [self._posts.pop(key) for key in kinds]

    def pending(self) -> bool:
        """Whether `get` would not wait; for the main thread."""
        return bool(self._results or self._errands)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As that of the queue. Raises `queue.Empty`."""
        deadline = time.monotonic() + (timeout or 0)
        while True:
            self._end_if_told()
            while self._errands and not self._results:
                self._errands.popleft()()
                self._end_if_told()
            if self._results:
                return self._results.popleft()
            self._send_a_post()
            now = time.monotonic()
            moment = min(deadline, max(now, self._next_post)) if self._posts else deadline
            try:
                result = self._wrapped.get(timeout=max(_SHORTEST, moment - now))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise
                continue
            if result is not None:
                return result
            self._woken = False

    def attend(self, seconds: float) -> None:
        """Does errands for so long, and nothing else."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            while self._errands:
                self._errands.popleft()()
            time.sleep(0.01)

    def close(self) -> None:
        """As that of the queue."""
        self._wrapped.close()

    def _wake(self) -> None:
        with self._lock:
            if self._woken:
                return
            self._woken = True
        self._wrapped.put(None)

    def _send_a_post(self) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._posts or now < self._next_post:
                return
            self._next_post = now + _PAUSE_OF_POSTS
            message = self._posts.pop(next(iter(self._posts)))
        _send(message)


def _send(message: Callable[[], None]) -> None:
    try:
        message()
    except Exception as error:  # a scheduler that is away for a moment must not cost a job its worker
        logger.debug("the scheduler was not told: %s", error)


def _same(wrapped: Any) -> Any:
    return wrapped


_locked: list[logging.Handler] = []


def _before_fork() -> None:
    # a thread that writes to the log at this moment would leave its stream locked in the child, for ever
    part: logging.Logger | None = logger
    while part:
        for handler in part.handlers:
            handler.acquire()
            _locked.append(handler)
        part = part.parent if part.propagate else None


def _after_fork() -> None:
    while _locked:
        _locked.pop().release()


def _after_fork_in_child() -> None:
    # logging makes the locks anew
    _locked.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
