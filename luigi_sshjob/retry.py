"""How long a host that does not answer is waited for."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from luigi_sshjob.errors import HostUnreachable

logger = logging.getLogger("luigi-interface")

Result = TypeVar("Result")

_LONGEST_BACKOFF = 30.0


class Retry:
    """Repeats what may be repeated for as long as a host does not answer, up to `timeout` seconds in a row."""

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.on_retry: Callable[[HostUnreachable], None] = lambda error: None
        """Called now and then while the host does not answer, with the last error; may be set."""

    def call(self, request: Callable[[], Result], meanwhile: str = "what runs on the host goes on") -> Result:
        """The answer to `request`. Raises `HostUnreachable` when the time is up; no job is the worse for it."""
        since = time.monotonic()
        pause = 0.5
        while True:
            try:
                return request()
            except HostUnreachable as error:
                if time.monotonic() - since > self.timeout:
                    raise
                logger.warning("%s\nTrying again; %s meanwhile.", error, meanwhile)
                self.on_retry(error)
                # full jitter, so that many who lost the same host do not come back at once
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, _LONGEST_BACKOFF)


_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 30.0


class HostOutage:
    """What is known of a host that does not answer; nothing while it does. For all threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._since = 0.0
        self._pause = _FIRST_PAUSE
        self._next_try = 0.0
        self._closed = False
        self.error: HostUnreachable | None = None

    def noted(self, error: HostUnreachable) -> None:
        """One more question was in vain."""
        now = time.monotonic()
        with self._changed:
            if self.error is None:
                self._since, self._pause = now, _FIRST_PAUSE
            elif now < self._next_try:
                return
            self.error = error
            # jitter, so that other processes that lost the same host do not come back at once
            self._next_try = now + random.uniform(self._pause / 2, self._pause)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        logger.warning("%s\nTrying again; what runs on the host goes on meanwhile.", error)

    def over(self) -> None:
        """It has answered."""
        with self._changed:
            self.error = None
            self._changed.notify_all()

    def wait(self) -> None:
        """Until the next question may be asked."""
        with self._changed:
            while self.error is not None and not self._closed and (rest := self.rest()) > 0:
                self._changed.wait(rest)

    def rest(self) -> float:
        """Seconds until the next question may be asked."""
        return max(0.0, self._next_try - time.monotonic()) if self.error is not None else 0.0

    def check(self, since: float, timeout: float) -> None:
        """Raises the last error where one who waits `since` (`time.monotonic()`) has had no answer for too long, or
        where nobody is to wait any more."""
        with self._changed:
            error = self.error
            too_long = time.monotonic() - max(since, self._since) > timeout
        if error is not None and (too_long or self._closed):
            raise error.again()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class SharedRetry(Retry):
    """Of one who is not alone in waiting: its time begins when it is made, and while another knows that the host is
    silent it does not ask by itself."""

    def __init__(self, timeout: float, silence: HostOutage):
        super().__init__(timeout)
        self._silence = silence
        self._since = time.monotonic()

    def check(self) -> None:
        """Raises `HostUnreachable` when the time is up."""
        self._silence.check(self._since, self.timeout)
        error = self._silence.error
        if error is not None:
            self.on_retry(error)

    def give_up(self) -> None:
        """Nobody waits for what is asked any more: the next failure is the last."""
        self.timeout = 0.0

    def call(self, request: Callable[[], Result], meanwhile: str = "") -> Result:
        """As `Retry.call`; what is said while a host does not answer is said once for all."""
        since = time.monotonic()
        while True:
            self.check()
            self._silence.wait()
            try:
                answer = request()
            except HostUnreachable as error:
                self._silence.noted(error)
                # the host may well answer others
                if time.monotonic() - since > self.timeout:
                    raise
            else:
                self._silence.over()
                return answer
