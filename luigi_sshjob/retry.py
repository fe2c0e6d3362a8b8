"""Retry with back-off while a host is unreachable. All back-off of the package is here."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from luigi_sshjob.errors import HostUnreachable, LoginNeeded

logger = logging.getLogger("luigi-interface")

Result = TypeVar("Result")

_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0


def jitter(shortest: float, longest: float) -> float:
    """A random pause in seconds, so that processes that wait for the same thing do not act at the same moment."""
    return random.uniform(shortest, longest)  # noqa: TID251  # the place it is banned in favour of


def _log(error: HostUnreachable, last: HostUnreachable | None, note: str) -> None:
    """Log the error of an outage, unless it is that a person has to log in, and was logged before."""
    if not isinstance(error, LoginNeeded):
        logger.warning("%s\nRetrying; %s.", error, note)
    elif not isinstance(last, LoginNeeded):
        logger.warning("%s\nWaiting for the login; %s.", error, note)


class Backoff:
    """Pauses that double from `first` to `longest` seconds, each shortened at random by up to a half."""

    def __init__(self, first: float = _FIRST_PAUSE, longest: float = _LONGEST_PAUSE):
        self._limit = first
        self._longest = longest

    def next(self) -> float:
        """The next pause in seconds."""
        limit, self._limit = self._limit, min(self._limit * 2, self._longest)
        return jitter(limit / 2, limit)


class Retry:
    """Repeats idempotent requests while a host is unreachable, up to `timeout` seconds in a row."""

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.on_retry: Callable[[HostUnreachable], None] = lambda _: None
        """Called before each retry with the last error."""

    def call(self, request: Callable[[], Result], note: str = "jobs on the host continue to run") -> Result:
        """Returns the result of `request`. Raises `HostUnreachable` after the timeout; jobs are not affected."""
        since = time.monotonic()
        backoff = Backoff()
        last: HostUnreachable | None = None
        while True:
            try:
                return request()
            except HostUnreachable as error:
                if time.monotonic() - since > self.timeout:
                    raise
                _log(error, last, note)
                last = error
                self.on_retry(error)
                time.sleep(backoff.next())


class HostOutage:
    """The current outage of a host, if any, as known to all threads of this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._since = 0.0
        self._backoff = Backoff()
        self._next_try = 0.0
        self._closed = False
        self.error: HostUnreachable | None = None
        """The last error; None while the host responds."""

    def record(self, error: HostUnreachable) -> None:
        """Records a failed request."""
        now = time.monotonic()
        with self._changed:
            if self.error is None:
                self._since, self._backoff = now, Backoff()
            elif now < self._next_try:
                return
            last, self.error = self.error, error
            self._next_try = now + self._backoff.next()
        _log(error, last, "jobs on the host continue to run")

    def end(self) -> None:
        """Records a successful request."""
        with self._changed:
            self.error = None
            self._changed.notify_all()

    def wait(self) -> None:
        """Waits until the next request is due."""
        with self._changed:
            while self.error is not None and not self._closed and (pause := self.pause()) > 0:
                self._changed.wait(pause)

    def pause(self) -> float:
        """Seconds until the next request is due."""
        return max(0.0, self._next_try - time.monotonic()) if self.error is not None else 0.0

    def check(self, since: float, timeout: float) -> None:
        """Raises the last error if the outage, or the wait that began at `since`, is longer than `timeout` seconds.

        Raises it also after `close`.
        """
        with self._changed:
            error = self.error
            expired = time.monotonic() - max(since, self._since) > timeout
        if error is not None and (expired or self._closed):
            raise error.copy_for()

    def close(self) -> None:
        """Ends all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class SharedRetry(Retry):
    """A `Retry` that shares what is known of an outage with the other requests to the same host.

    The timeout counts from the start of the outage, or from the creation of this object if that is later. During an
    outage only one of those that share it tries the host at a time.
    """

    def __init__(self, timeout: float, outage: HostOutage):
        super().__init__(timeout)
        self._outage = outage
        self._since = time.monotonic()

    def check(self) -> None:
        """Calls `on_retry` during an outage. Raises `HostUnreachable` after the timeout."""
        self._outage.check(self._since, self.timeout)
        error = self._outage.error
        if error is not None:
            self.on_retry(error)

    def stop(self) -> None:
        """Makes the next failure the last one."""
        self.timeout = 0.0

    def call(self, request: Callable[[], Result], note: str = "") -> Result:  # noqa: ARG002  # as `Retry.call`
        """Like `Retry.call`; an outage is logged once for all requests."""
        since = time.monotonic()
        while True:
            self.check()
            self._outage.wait()
            try:
                result = request()
            except HostUnreachable as error:
                self._outage.record(error)
                # `check` never raises while other requests succeed and end the outage
                if time.monotonic() - since > self.timeout:
                    raise
            else:
                self._outage.end()
                return result
