"""Reports on a running job: lines in Luigi's log, a status message and a percentage on luigid's page."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from luigi_sshjob import text as text_module
from luigi_sshjob.errors import HostUnreachable, JobFailed, JobLost, LoginNeeded
from luigi_sshjob.exit_hints import hint_for_job
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.tasks.log_lines import LogLines

logger = logging.getLogger("luigi-interface")

_PROGRESS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%?\s*(.*)")
_PAUSE = 3.0  # seconds between two messages to the scheduler
_QUIET = 60.0  # seconds without new log lines after which the status mentions it
_STATUS_LINES = 8
_ERROR_LINES = 6  # few enough for the whole error to be in the last ten lines of a terminal
_REMINDER = 300.0  # seconds between two log lines about a job that has no supervisor that can be watched
_DOUBTFUL = (State.UNSUPERVISED, State.ELSEWHERE, State.UNKNOWN)
_WIDTH = 200


class TaskStatus(Protocol):
    """The part of a task that its run reports to.

    While a worker runs it, Luigi adds `set_status_message`, `set_progress_percentage`, `set_tracking_url` and
    `scheduler_messages`.
    """

    task_id: str

    @property
    def accepts_messages(self) -> bool:
        """Whether messages from luigid's page are executed."""

    def on_scheduler_message(self, message: Any, /) -> str:
        """The response to a message that was sent from luigid's page."""

    def trigger_event(self, event: str, *arguments: object) -> None:
        """Call the handlers of an event, as Luigi's `Task.trigger_event`."""


class StatusReporter:
    """Turns the statuses of one job into messages to the scheduler.

    It sends a changed status, and an unchanged one every `repeat` seconds, but nothing within three seconds of the last
    message unless the host has become unreachable or the job has ended. Without a task it sends nothing. `messages` are
    the words that the job responds to; `logs` is the command line that shows the log;
    `clock` returns seconds.
    """

    def __init__(
        self,
        task: TaskStatus | None,
        job: JobRef,
        log_lines: int,
        logs: str,
        repeat: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        messages: str = "",
    ):
        self._messages = messages
        self.note = ""
        """A line about the job that is part of each status."""
        self._task = task
        self._job = job
        self._logs = logs
        self._log = LogLines(lambda line: logger.info("[%s] %s", job.id, line), log_lines, f"all are in `{logs}`")
        self._repeat = repeat
        self._clock = clock
        self._status: JobStatus | None = None
        self._since = self._grew = clock()
        self._exact = False
        self._unreachable_since: float | None = None
        self._sent_at = -math.inf
        self._sent: object = None
        self._percentage: int | None = None
        self._doubt: tuple[State, float] | None = None
        self._queue_reason = ""

    @property
    def tail(self) -> Sequence[str]:
        """The last lines of the log so far."""
        return tuple(self._log.tail)

    def track(self, url: str | None) -> None:
        """Send the tracking URL, or clear it with None."""
        self._send("set_tracking_url", url)

    def observe(self, status: JobStatus) -> None:
        """Log new lines, and report the status."""
        now = self._clock()
        if status.truncated:
            self._log.restart("(the command has truncated its log: what it wrote since the last line here may be lost)")
        if status.log:
            self._log.feed(status.log)
            self._grew = now
        if not status.state.final and (self._status is None or status.state is not self._status.state):
            self._since, self._exact = now, False
        if status.running_for is not None:
            # no two clocks are compared: the host's measured this time, the local one measures from here on
            self._since, self._exact = now - status.running_for, True
        self._status = dataclasses.replace(status, log=b"", running_for=None)
        self._unreachable_since = None
        self._log_doubt(status, now)
        self._log_queue(status)
        # an end is reported by `conclude`; a claimed job usually starts within a moment
        if not status.state.final and (status.state is not State.CLAIMED or now - self._since > _PAUSE):
            self._report("status", self._describe)

    def report_unreachable(self, error: HostUnreachable) -> None:
        """Report that the host does not respond, the first time at once."""
        if self._unreachable_since is None:
            self._unreachable_since = self._clock()
            self._sent_at = -math.inf
        self._report("unreachable", lambda: self._describe_unreachable(error))

    def finish(self) -> None:
        """The log is complete."""
        self._log.finish()

    def conclude(self, outcome: Outcome, logs: str, then: str = "") -> None:
        """Report the outcome and what follows it, the last message of all. `logs` is empty if the log was removed."""
        self._logs = logs
        self._sent_at = -math.inf
        ran = f" after {text_module.format_duration(self._clock() - self._since)}" if self._exact else ""
        self._report("outcome", lambda: [f"{outcome}", f"on {self._job.host}{ran}", *filter(None, [then])])

    def _log_queue(self, status: JobStatus) -> None:
        """Log why a job waits, each time when that changes; a warning if nothing but a person can change it."""
        if status.state not in (State.CLAIMED, State.QUEUED) or status.queue_reason in ("", self._queue_reason):
            return
        self._queue_reason = status.queue_reason
        level = logging.WARNING if status.hopeless or status.state is State.CLAIMED else logging.INFO
        act = "; it does not start until somebody changes that" if status.hopeless else ""
        where = f"[{self._job.id}] {status.state.value} on {self._job.host}"
        logger.log(level, "%s: %s%s", where, text_module.printable_line(status.reason, 5 * _WIDTH), act)

    def _log_doubt(self, status: JobStatus, now: float) -> None:
        """Warn when it becomes doubtful what the job does, and every few minutes of that."""
        if status.state not in _DOUBTFUL:
            self._doubt = None
        elif self._doubt is None or self._doubt[0] is not status.state or now - self._doubt[1] >= _REMINDER:
            self._doubt = (status.state, now)
            reason = text_module.printable_line(status.reason, 5 * _WIDTH)
            logger.warning("[%s] %s on %s: %s", self._job.id, status.state.value, self._job.host, reason)

    def _report(self, kind: str, head: Callable[[], list[str]]) -> None:
        now = self._clock()
        lines = [text_module.printable_line(line, _WIDTH) for line in self._log.last(_STATUS_LINES)]
        content = (kind, self._status, lines)
        if now - self._sent_at < (self._repeat if content == self._sent else _PAUSE):
            return
        self._sent, self._sent_at = content, now
        percentage = _progress(self._status.progress)[0] if self._status else None
        if percentage is not None and percentage != self._percentage:
            self._percentage = percentage
            self._send("set_progress_percentage", percentage)
        text = [text_module.printable_line(line, 5 * _WIDTH) for line in [*head(), *filter(None, [self.note])]]
        if lines:
            quiet = now - self._grew
            show_quiet = quiet > _QUIET and kind == "status"
            unchanged = f" (nothing new for {text_module.format_duration(quiet)})" if show_quiet else ""
            text += ["", f"The last lines of its log{unchanged}:", *lines]
        if self._logs:
            text += ["", "The whole log:", self._logs]
        if self._messages and kind != "outcome":
            text += ["", f"Messages: {self._messages}"]
        self._send("set_status_message", text_module.escape_status("\n".join(text)))

    def _describe(self) -> list[str]:
        if self._status is None:
            return []
        passed = self._clock() - self._since
        age = f" for {'' if self._exact else 'at least '}{text_module.format_duration(passed)}"
        return describe_status(self._job, self._status, age if self._exact or passed >= 1 else "")

    def _describe_unreachable(self, error: HostUnreachable) -> list[str]:
        passed = self._clock() - (self._unreachable_since or 0)
        host = f"{self._job.host} " + (
            f"has not responded for {text_module.format_duration(passed)}" if passed >= 1 else "does not respond"
        )
        lines, then = [error.problem], "when it does"
        if isinstance(error, LoginNeeded):
            host, lines, then = f"{self._job.host} needs a login", [error.problem, error.next_step], "after that"
        if self._status is None:
            return [f"{host}; the job will be submitted, or found, {then}", *lines]
        return [f"{host}; its jobs keep running", *lines, "", "The last known status:", *self._describe()]

    def _send(self, method: str, value: object) -> None:
        send = getattr(self._task, method, None)
        if send is None:
            return
        try:
            send(value)
        except Exception as error:  # noqa: BLE001 - any failure of the scheduler; the job must not lose its watcher
            logger.debug("%s was not sent to the scheduler: %s", method, error)


def describe_status(job: JobRef, status: JobStatus, age: str) -> list[str]:
    """A job's status in lines; `age` is the text for how long it has had its state."""
    if status.outcome:
        return [f"{status.outcome}", f"on {job.host}"]
    percentage, step = _progress(status.progress)
    progress = f"{percentage} % {step}".rstrip() if percentage is not None else step
    lines = [f"{status.state.value} on {job.host}{age}", status.reason, progress]
    return [text_module.printable_line(line, _WIDTH) for line in lines if line]


def failure(job: JobRef, outcome: Outcome, tail: Sequence[str], logs: str) -> JobFailed:
    """The error for a job that failed; `logs` is the command that shows the log, empty if the log was removed."""
    last = [f"  | {text_module.printable_line(line, _WIDTH)}" for line in tail[-_ERROR_LINES:]]
    # with a reason it may be an exit code of the supervisor
    unexplained = outcome.state == "failed" and not outcome.reason
    hint = hint_for_job(outcome.exit_code) if unexplained and outcome.exit_code is not None else ""
    if outcome.state == "timed_out":
        hint = "if it needs more time, raise that limit"
    whole = f"see the whole log with `{logs}`" if logs else "cleanup has removed its log"
    kind = JobLost if outcome.state == "lost" else JobFailed
    return kind(
        "\n".join([f"it {outcome}", *(["The last lines of its log:", *last] if last else [])]),
        outcome=outcome,
        host=job.host,
        job=job.id,
        next_step="; ".join(filter(None, [hint, whole, "running the task again is a new attempt"])),
    )


def _progress(text: str) -> tuple[int | None, str]:
    match = _PROGRESS.fullmatch(text)
    if not match:
        return None, text
    # limited before it is rounded: float() turns a very long number into infinity, which round() does not accept
    return round(min(100.0, float(match[1]))), match[2]
