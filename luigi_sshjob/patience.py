"""How long a host that does not answer is waited for."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from luigi_sshjob.errors import HostUnreachable

logger = logging.getLogger("luigi-interface")

Result = TypeVar("Result")

_LONGEST_BACKOFF = 30.0


class Patience:
    """Repeats what may be repeated for as long as a host does not answer, up to `timeout` seconds in a row."""

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.on_silence: Callable[[HostUnreachable], None] = lambda error: None
        """Called now and then while the host does not answer, with the last error; may be set."""

    def with_host(self, request: Callable[[], Result], meanwhile: str = "what runs on the host goes on") -> Result:
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
                self.on_silence(error)
                # full jitter, so that many who lost the same host do not come back at once
                time.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, _LONGEST_BACKOFF)
