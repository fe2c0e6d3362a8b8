"""What a running job shows: lines in Luigi's log, a status and a percentage on luigid's page."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from luigi_sshjob import text as text_module
from luigi_sshjob.errors import HostUnreachable, JobFailed, JobLost
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State
from luigi_sshjob.tasks.log_lines import LogLines

logger = logging.getLogger("luigi-interface")

_PROGRESS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%?\s*(.*)")
_PAUSE = 3.0  # seconds between two messages to the scheduler
_QUIET = 60.0  # seconds after which it is worth a word that a log does not grow
_STATUS_LINES = 8
_WIDTH = 200


class TaskStatus(Protocol):
    """The part of a task that its run reports to.

    While a worker runs it, Luigi adds `set_status_message`, `set_progress_percentage`, `set_tracking_url` and
    `scheduler_messages`.
    """

    task_id: str

    def on_scheduler_message(self, message: Any, /) -> str:
        """The response to a message that was sent from luigid's page."""


class StatusReporter:
    """Turns the observations of one job into messages.

    Tells the scheduler what has changed, and how the time passes each `repeat` seconds, but nothing within three
    seconds of the last, unless the host falls silent or the job has ended. `logs` is the command that shows the log,
    `clock` tells seconds.
    """

    def __init__(
        self,
        task: TaskStatus,
        job: JobRef,
        log_lines: int,
        logs: str,
        repeat: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._task = task
        self._job = job
        self._logs = logs
        self._log = LogLines(lambda line: logger.info("[%s] %s", job.id, line), log_lines, f"all are in `{logs}`")
        self._repeat = repeat
        self._clock = clock
        self._seen: JobStatus | None = None
        self._since = self._grew = clock()
        self._exact = False
        self._silent_since: float | None = None
        self._said_at = -math.inf
        self._said: object = None
        self._percentage: int | None = None

    @property
    def tail(self) -> Sequence[str]:
        """The last lines of the log so far."""
        return tuple(self._log.tail)

    def track(self, url: str | None) -> None:
        """Says where there is more to see of it, if anywhere."""
        self._tell("set_tracking_url", url)

    def observe(self, observation: JobStatus) -> None:
        """Says what is new."""
        now = self._clock()
        if observation.log:
            self._log.feed(observation.log)
            self._grew = now
        if not observation.state.final and (self._seen is None or observation.state is not self._seen.state):
            self._since, self._exact = now, False
        if observation.running_for is not None:
            # no clock is compared: that of the host has measured this time, ours measures what comes after it
            self._since, self._exact = now - observation.running_for, True
        self._seen = dataclasses.replace(observation, log=b"", running_for=None)
        self._silent_since = None
        # of an end there is more to say soon; a claim is taken up within a moment
        if not observation.state.final and (observation.state is not State.CLAIMED or now - self._since > _PAUSE):
            self._say("status", self._status)

    def report_unreachable(self, error: HostUnreachable) -> None:
        """Says that its host does not answer: at once, as it may take long until there is anything else to say."""
        if self._silent_since is None:
            self._silent_since = self._clock()
            self._said_at = -math.inf
        self._say("silence", lambda: self._silence(error))

    def finish(self) -> None:
        """The log is at its end."""
        self._log.finish()

    def conclude(self, outcome: Outcome, logs: str) -> None:
        """Says how it ended: the last that is shown. `logs` is empty where there is no log any more."""
        self._logs = logs
        self._said_at = -math.inf
        ran = f" after {text_module.format_duration(self._clock() - self._since)}" if self._exact else ""
        self._say("outcome", lambda: [f"{outcome}", f"on {self._job.host}{ran}"])

    def _say(self, kind: str, head: Callable[[], list[str]]) -> None:
        now = self._clock()
        lines = [text_module.printable_line(line, _WIDTH) for line in self._log.last(_STATUS_LINES)]
        news = (kind, self._seen, lines)
        if now - self._said_at < (self._repeat if news == self._said else _PAUSE):
            return
        self._said, self._said_at = news, now
        percentage = _progress(self._seen.progress)[0] if self._seen else None
        if percentage is not None and percentage != self._percentage:
            self._percentage = percentage
            self._tell("set_progress_percentage", percentage)
        text = [text_module.printable_line(line, 5 * _WIDTH) for line in head()]
        if lines:
            quiet = now - self._grew
            unchanged = (
                f" (nothing new for {text_module.format_duration(quiet)})"
                if quiet > _QUIET and kind == "status"
                else ""
            )
            text += ["", f"The last lines of its log{unchanged}:", *lines]
        if self._logs:
            text += ["", "The whole log:", self._logs]
        self._tell("set_status_message", text_module.status("\n".join(text)))

    def _status(self) -> list[str]:
        if self._seen is None:
            return []
        passed = self._clock() - self._since
        age = (
            f" for {text_module.format_duration(passed)}"
            if self._exact
            else f" for at least {text_module.format_duration(passed)}"
        )
        return describe_status(self._job, self._seen, age if self._exact or passed >= 1 else "")

    def _silence(self, error: HostUnreachable) -> list[str]:
        passed = self._clock() - (self._silent_since or 0)
        said = f"has not answered for {text_module.format_duration(passed)}" if passed >= 1 else "does not answer"
        if self._seen is None:
            return [f"{self._job.host} {said}; the job waits to be submitted, or found there", error.problem]
        first = f"{self._job.host} {said}; what runs there goes on"
        return [first, error.problem, "", "When it last did:", *self._status()]

    def _tell(self, method: str, value: object) -> None:
        # Luigi sets these on a task only while a worker runs it
        tell = getattr(self._task, method, None)
        if tell is None:
            return
        try:
            tell(value)
        except Exception as error:  # a scheduler that is away for a moment must not cost the job its watcher
            logger.debug("the scheduler was not told %s: %s", method, error)


def describe_status(job: JobRef, seen: JobStatus, age: str) -> list[str]:
    """How a job stands, in lines; `age` says how long it has stood so."""
    if seen.outcome:
        return [f"{seen.outcome}", f"on {job.host}"]
    percentage, doing = _progress(seen.progress)
    progress = f"{percentage} % {doing}".rstrip() if percentage is not None else doing
    lines = [f"{seen.state.value} on {job.host}{age}", seen.reason, progress]
    return [text_module.printable_line(line, _WIDTH) for line in lines if line]


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
    # bounded first: of a number too long for it float() makes infinity, which cannot be rounded
    return round(min(100.0, float(match[1]))), match[2]
