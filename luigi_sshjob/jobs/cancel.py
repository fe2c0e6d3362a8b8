"""Cancels jobs: sends the requests, polls until the jobs have ended, and collects the outcomes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from luigi_sshjob.error_context import error_context
from luigi_sshjob.jobs.client import client_identity
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.protocol import parse_facts_of, status_of
from luigi_sshjob.jobs.scheduled.cancellation import Cancellation
from luigi_sshjob.jobs.scheduled.requests import action_request
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

Send = Callable[[str, Sequence[tuple[str, ...]]], list[Response]]
"""Sends a verb once with each of several tuples of arguments."""

SLOW = ("job_cancel", "scheduler_call")
"""Verbs that may take long."""

_PAUSE = 10.0  # the longest pause between two requests for the same jobs, in seconds
_CALLS = 3  # to a scheduler for a job with an exit record, while the scheduler complains

_UNCANCELLABLE = (State.ELSEWHERE.value, State.UNKNOWN.value)


def cancel_jobs(connection: Connection, jobs: Sequence[tuple[JobRef, float]], deadline: float) -> list[JobRef]:
    """Cancels jobs on one host, each with its grace period in seconds. Raises `ConnectionFailed`.

    Returns the jobs that have not ended at `deadline` (`time.monotonic()`).
    """
    with error_context("cancelling jobs", host=connection.host), connection.dedicated_shell(deadline) as send_all:

        def send(verb: str, calls: Sequence[tuple[str, ...]]) -> list[Response]:
            return send_all([request_text(verb, *words) for words in calls])

        interval = connection.settings.scheduler_interval
        with reading_response("job_cancel", connection.host):
            statuses = Canceller(jobs, send, interval).run(deadline)
    return [job for job, _ in jobs if job not in statuses or not statuses[job].outcome]


class Canceller:
    """Cancels jobs, each with its grace period in seconds, and collects those that were cancelled or lost.

    `interval` is the pause in seconds between two questions to a scheduler. Calls `on_uncancellable` with the reason
    while a job runs on another machine, or its directory cannot be read. `by` is who cancels, for the exit record; by
    default this process.
    """

    def __init__(
        self,
        jobs: Sequence[tuple[JobRef, float]],
        send: Send,
        interval: float,
        on_uncancellable: Callable[[JobRef, str], None] = lambda _job, _reason: None,
        by: str = "",
    ):
        self._by = " ".join(by.split()) or client_identity()
        self._graces = dict(jobs)
        self._send = send
        self._on_uncancellable = on_uncancellable
        self._statuses: dict[JobRef, JobStatus] = {}
        self._refusals: dict[JobRef, str] = {}
        self._schedulers = Schedulers(interval)
        self._cancellation = Cancellation()
        self._complaints: dict[JobRef, str] = {}
        self._in_queue: set[JobRef] = set()
        self._calls: Counter[JobRef] = Counter()

    def run(self, deadline: float) -> dict[JobRef, JobStatus]:
        """Returns the last status of each job when all have ended, or at `deadline` (`time.monotonic()`)."""
        left = list(self._graces)
        next_cancel = -math.inf
        while left:
            # repeated, as a supervisor that was just starting may have missed it; seldom, as a scheduler takes its time
            if (begin := time.monotonic()) >= next_cancel:
                self._cancel(left)
                next_cancel = time.monotonic() + min(max(1, 10 * (time.monotonic() - begin)), _PAUSE)
            self._poll(left)
            # who cancelled a job knows the outcome: the next run of the task is to be a new attempt
            ended = [job for job in left if (end := self._statuses[job].outcome) and end.state in ("cancelled", "lost")]
            self._send("job_collect", [(job.directory, client_identity()) for job in ended])
            left = [job for job in left if not self._statuses[job].outcome or job in self._in_queue]
            for job in left:
                if job in self._refusals:
                    self._on_uncancellable(job, self._refusals[job])
            if left and time.monotonic() >= deadline:
                break
            time.sleep(jitter(0.1, 0.2) if left else 0)
        return self._statuses

    def _cancel(self, jobs: Sequence[JobRef]) -> None:
        """Sends the requests; notes why some of the jobs cannot be cancelled from this host."""
        calls = [(job.directory, str(math.ceil(self._graces[job])), self._by) for job in jobs]
        self._refusals = {}
        scheduled = {}
        for job, response in zip(jobs, self._send("job_cancel", calls), strict=True):
            parts = {part.kind: part for part in response.parts}
            state = parts["cancelling"]
            if state.value == "scheduled":
                scheduled[job] = parse_facts_of(parts, "cancelling")
            elif state.value in _UNCANCELLABLE:
                self._refusals[job] = quoting.decode(state.content)[:-1]
        # one that is being submitted has to be cancelled afterwards, too
        self._in_queue = {job for job, facts in scheduled.items() if facts.submitting}
        waiting = {job for job in scheduled if job in self._statuses and self._statuses[job].state is State.QUEUED}
        for words, called in self._cancellation.requests(scheduled, self._graces, waiting):
            verb, *arguments = words
            (response,) = self._send(verb, [tuple(arguments)])
            answer = self._cancellation.answer(response)
            self._complaints.update(dict.fromkeys(called, answer))
            self._calls.update(called)
        # it may be about one of several jobs, or about one that has left the queue; one that stays there never begins
        self._in_queue |= {job for job in scheduled if self._complaints.get(job) and self._calls[job] < _CALLS}

    def _poll(self, jobs: Sequence[JobRef]) -> None:
        responses = self._send("job_status", [(job.directory, "-") for job in jobs])
        for job, response in zip(jobs, responses, strict=True):
            status = self._statuses[job] = self._judge(job, status_of(response, None))
            if status.scheduled and status.state in (State.ELSEWHERE, State.UNKNOWN):
                self._refusals[job] = status.reason
        for name, (verb, *words) in self._schedulers.due_requests().items():
            (response,) = self._send(verb, [tuple(words)])
            self._schedulers.update(name, response)

    def _judge(self, job: JobRef, status: JobStatus) -> JobStatus:
        verdict = self._schedulers.judge(job, status)
        if verdict is None:
            return status
        if verdict.action:
            verb, *words = action_request(job, verdict.action)
            self._send(verb, [tuple(words)])
        complaint = self._complaints.get(job)
        reason = "; ".join(filter(None, [verdict.status.reason, complaint]))
        return dataclasses.replace(verdict.status, reason=reason)
