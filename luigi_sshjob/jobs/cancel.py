"""Cancels jobs: sends the requests, polls until the jobs have ended, and collects the outcomes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from luigi_sshjob.error_context import error_context
from luigi_sshjob.jobs.client import client_identity
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.protocol import status_of
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import jitter
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

Send = Callable[[str, Sequence[tuple[str, ...]]], list[Response]]
"""Sends a verb once with each of several tuples of arguments."""

_UNCANCELLABLE = (State.ELSEWHERE, State.UNKNOWN)


def cancel_jobs(connection: Connection, jobs: Sequence[tuple[JobRef, float]], deadline: float) -> list[JobRef]:
    """Cancels jobs on one host, each with its grace period in seconds. Raises `ConnectionFailed`.

    Returns the jobs that have not ended at `deadline` (`time.monotonic()`).
    """
    with error_context("cancelling jobs", host=connection.host), connection.dedicated_shell(deadline) as send_all:

        def send(verb: str, calls: Sequence[tuple[str, ...]]) -> list[Response]:
            return send_all([request_text(verb, *words) for words in calls])

        statuses = cancel_until(deadline, jobs, send)
    return [job for job, _ in jobs if job not in statuses or not statuses[job].outcome]


def cancel_until(
    deadline: float,
    jobs: Sequence[tuple[JobRef, float]],
    send: Send,
    on_uncancellable: Callable[[JobRef, str], None] = lambda _job, _reason: None,
) -> dict[JobRef, JobStatus]:
    """Cancels jobs, collects those that were cancelled or lost, and returns the last status of each.

    Calls `on_uncancellable` with the reason while a job runs on another machine, or its directory cannot be read.
    """
    graces = dict(jobs)
    left = list(graces)
    statuses: dict[JobRef, JobStatus] = {}
    refusals: dict[JobRef, str] = {}
    next_cancel = -math.inf
    while left:
        # repeated, as a supervisor that was just starting may have missed it; seldom, as a scheduler takes its time
        if (begin := time.monotonic()) >= next_cancel:
            refusals = _cancel([(job, graces[job]) for job in left], send)
            next_cancel = time.monotonic() + max(1, 10 * (time.monotonic() - begin))
        statuses.update(_poll(left, send))
        # who cancelled a job knows the outcome: the next run of the task is to be a new attempt
        collected = [job for job in left if (end := statuses[job].outcome) and end.state in ("cancelled", "lost")]
        send("job_collect", [(job.directory, client_identity()) for job in collected])
        left = [job for job in left if not statuses[job].outcome]
        for job in left:
            if job in refusals:
                on_uncancellable(job, refusals[job])
        if left and time.monotonic() >= deadline:
            break
        time.sleep(jitter(0.1, 0.2) if left else 0)
    return statuses


def _cancel(jobs: Sequence[tuple[JobRef, float]], send: Send) -> dict[JobRef, str]:
    """Sends the requests; returns why some of the jobs cannot be cancelled from this host."""
    calls = [(job.directory, str(math.ceil(grace)), client_identity()) for job, grace in jobs]
    return {
        job: quoting.decode(part.content)[:-1]
        for (job, _), response in zip(jobs, send("job_cancel", calls), strict=True)
        for part in response.parts
        if State(part.value) in _UNCANCELLABLE
    }


def _poll(jobs: Sequence[JobRef], send: Send) -> dict[JobRef, JobStatus]:
    responses = send("job_status", [(job.directory, "-") for job in jobs])
    return {job: status_of(response, None) for job, response in zip(jobs, responses, strict=True)}
