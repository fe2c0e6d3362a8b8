"""Single looks at a scheduler, by clients that do not watch jobs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.launchers.scheduler import Phase, Scheduler, Submitted
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.scheduled.facts import parse_submitted
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.jobs.scheduled.view import SchedulerView
from luigi_sshjob.ssh.shell.remote_shell import Response

SendOne = Callable[[tuple[str, ...]], Response]
"""Sends a request, a verb and its arguments, to the host."""

_PATIENCE = 5.0  # seconds to wait for an answer
_LISTING = 60.0  # seconds that a listing may take
_PAUSE = 0.2


def look(schedulers: Schedulers, statuses: Mapping[JobRef, JobStatus], send: SendOne) -> dict[JobRef, JobStatus]:
    """Judge statuses of the host, after all schedulers that have jobs were asked.

    Without a listing within some seconds nothing is known about a job.
    """
    for job, status in statuses.items():
        schedulers.judge(job, status)
    _ask(schedulers, send)
    return {job: _judged(schedulers, job, status) for job, status in statuses.items()}


def _ask(schedulers: Schedulers, send: SendOne) -> None:
    deadline = time.monotonic() + _PATIENCE
    while requests := schedulers.due_requests(at_once=True):
        for name, words in requests.items():
            schedulers.update(name, send(words))
        if schedulers.answered() or time.monotonic() >= deadline:
            return
        time.sleep(_PAUSE)


def _judged(schedulers: Schedulers, job: JobRef, status: JobStatus) -> JobStatus:
    verdict = schedulers.judge(job, None)
    if verdict is None:
        return status
    judged = dataclasses.replace(
        verdict.status, log=status.log, known_log=status.known_log, running_for=status.running_for
    )
    if schedulers.listed(status) or judged.state is State.CLAIMED:
        return judged
    return dataclasses.replace(judged, state=State.UNKNOWN)


def assert_not_scheduled(
    job: JobRef, note: str, moment: int, scheduler: Scheduler, interval: float, send: SendOne
) -> None:
    """Raises `RemoteCommandFailed` while the scheduler may have an attempt whose directory was deleted.

    `note` says how it was submitted, `moment` is the time of the host after which it cannot be submitted again.
    """
    # without a note it was never submitted, or the note was deleted, too
    submitted = parse_submitted(note) or Submitted(job.id, job.directory, "")
    view = listed_after(moment, scheduler, job.base_directory, interval, send)
    row = view.find(submitted)
    if view.listed_at > moment and (row is None or row.phase is Phase.OVER):
        return
    silence = f"{scheduler.title} does not respond: {view.error or 'no listing yet'}"
    what = f"{scheduler.title} job {row.id}" if row else silence
    raise RemoteCommandFailed(
        f"an attempt whose directory was deleted may still be scheduled: {job.directory} ({what})",
        code="attempt-still-scheduled",
        host=job.host,
        job=job.id,
        next_step="cancel that job on the host, then run the task again; nothing was submitted",
    )


def listed_after(moment: int, scheduler: Scheduler, base: str, interval: float, send: SendOne) -> SchedulerView:
    """The scheduler's listing, if it was possible to get one that began after that moment of the host."""
    view = SchedulerView(scheduler, interval)
    deadline = time.monotonic() + interval + _LISTING
    while view.listed_at <= moment and time.monotonic() < deadline:
        view.update(send(view.request(base, ())))
        if view.listed_at <= moment:
            time.sleep(_PAUSE)
    return view
