"""Retries within one run of a task: for which causes, how often, and after which pause."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.previous import CAUSES, PreviousAttempt, cause_of
from luigi_sshjob.retry import Backoff

_FIRST_PAUSE = 10.0  # seconds; the pauses double, and each is shortened at random by up to a half
_LONGEST_PAUSE = 600.0
_STEP = 0.5  # seconds between two looks at what may end a pause

_ITEM = re.compile(r"(\w+)\s*:\s*(\d{1,9})")


class Again(Exception):
    """A run goes on with another attempt: pause, then call `JobRun.restart` with `previous`, then `submit` again."""

    def __init__(self, previous: PreviousAttempt | None, pause: float = 0.0):
        super().__init__(previous, pause)
        self.previous = previous
        self.pause = pause
        """Seconds."""

    def wait(self, while_waiting: Callable[[], None], is_over: Callable[[], bool]) -> None:
        """Pauses, unless `is_over`; calls `while_waiting`, which may raise, from time to time."""
        until = time.monotonic() + self.pause
        while not is_over() and (left := until - time.monotonic()) > 0:
            while_waiting()
            time.sleep(min(left, _STEP))


@dataclasses.dataclass(frozen=True)
class Retries:
    """The number of retries of one run for each cause."""

    allowed: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def checked(cls, value: Any) -> Retries:
        """Of a dict, or of a text as in the configuration. Raises `ConfigurationError`."""
        allowed = _parse(value) if isinstance(value, str) else value
        if not isinstance(allowed, Mapping):
            raise _invalid(value)
        for cause, number in allowed.items():
            if cause not in CAUSES:
                raise _invalid(value, f": unknown cause {cause!r}")
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise _invalid(value, f": {cause} is {number!r}")
        return cls(dict(allowed))

    def after(self, job: JobRef, outcome: Outcome, previous: PreviousAttempt | None) -> Again | None:
        """The retry of an attempt that has ended, and that was itself a retry of `previous`; None if there is none."""
        cause = cause_of(outcome)
        used = dict(previous.used) if previous else {}
        used[cause] = used.get(cause, 0) + 1
        allowed = self.allowed.get(cause, 0)
        if used[cause] > allowed:
            return None
        return Again(PreviousAttempt.of(job.attempt, outcome, cause, used, allowed), _pause(sum(used.values())))


def _pause(number: int) -> float:
    """Before the retry of this number, in seconds."""
    backoff, pause = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE), 0.0
    # it is the longest after a few
    for _ in range(min(number, 20)):
        pause = backoff.next()
    return pause


def _parse(text: str) -> dict[str, int]:
    items = [item for item in re.split(r"[\s,]+", re.sub(r"\s*:\s*", ":", text)) if item]
    found = [_ITEM.fullmatch(item) for item in items]
    if not all(found):
        raise _invalid(text)
    return {match[1]: int(match[2]) for match in found if match}


def _invalid(value: Any, details: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"retries must be numbers by cause: {value!r}{details}",
        next_step=f"use a dict of {', '.join(CAUSES)} to integers of 0 or more, or a text such as 'lost:3 memory:1'; "
        "a task whose own attribute has this name must rename it",
    )
