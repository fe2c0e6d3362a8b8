"""What a running job shows: lines in Luigi's log, a status and a percentage on luigid's page."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from luigi_sshjob.errors import JobFailed, JobLost
from luigi_sshjob.job import JobRef, Observation, Outcome
from luigi_sshjob.logstream import LogStream

logger = logging.getLogger("luigi-interface")

_PROGRESS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%?\s*(.*)")
_STATUS_LINES = 5


class Reporter:
    """Turns the observations of one job into messages; sends the scheduler no more than has changed, or the time after
    `repeat` seconds."""

    def __init__(self, task: Any, job: JobRef, log_lines: int, logs: str, repeat: float = 10.0):
        self._task = task
        self._job = job
        self._log = LogStream(lambda line: logger.info("[%s] %s", job.id, line), log_lines, f"all are in `{logs}`")
        self._since = time.monotonic()
        self._repeat = repeat
        self._said_at = 0.0
        self._said: object = None
        self._percentage: int | None = None

    @property
    def tail(self) -> Sequence[str]:
        """The last lines of the log so far."""
        return tuple(self._log.tail)

    def observe(self, observation: Observation) -> None:
        """Says what is new."""
        if observation.log:
            self._log.feed(observation.log)
        percentage, doing = _progress(observation.progress)
        if percentage is not None and percentage != self._percentage:
            self._percentage = percentage
            self._tell("set_progress_percentage", percentage)
        self._status(observation, doing)

    def finish(self) -> None:
        """The log is at its end."""
        self._log.finish()

    def _status(self, observation: Observation, doing: str) -> None:
        news = (observation.state, observation.reason, doing, self.tail[-_STATUS_LINES:])
        now = time.monotonic()
        if news == self._said and now - self._said_at < self._repeat:
            return
        self._said, self._said_at = news, now
        state = f"{observation.state.value}: {observation.reason}" if observation.reason else observation.state.value
        head = f"{self._job.id} on {self._job.host}: {state}, watched for {now - self._since:.0f} s"
        self._tell("set_status_message", "\n".join([head, *([doing] if doing else []), *self.tail[-_STATUS_LINES:]]))

    def _tell(self, method: str, value: object) -> None:
        # Luigi sets these on a task only while a worker runs it
        tell = getattr(self._task, method, None)
        if tell is None:
            return
        try:
            tell(value)
        except Exception as error:  # a scheduler that is away for a moment must not cost the job its watcher
            logger.debug("the scheduler was not told %s: %s", method, error)


def failure(job: JobRef, outcome: Outcome, tail: Sequence[str], logs: str) -> JobFailed:
    """The error for a bad end; `logs` is the command that shows the whole log, empty where there is none any more."""
    last = "\n".join(f"  | {line}" for line in tail)
    whole = f"see the whole log with `{logs}`; " if logs else "cleanup has removed its log; "
    kind = JobLost if outcome.state == "lost" else JobFailed
    return kind(
        f"it {outcome}" + (f"\nThe last lines of its log:\n{last}" if last else ""),
        outcome=outcome,
        host=job.host,
        job=job.id,
        next_step=f"{whole}running the task again is a new attempt",
    )


def _progress(text: str) -> tuple[int | None, str]:
    match = _PROGRESS.fullmatch(text)
    if not match:
        return None, text
    return max(0, min(100, round(float(match[1])))), match[2]
