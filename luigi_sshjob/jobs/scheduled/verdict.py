"""The result of judging a job of a scheduler. No I/O."""

from __future__ import annotations

import dataclasses

from luigi_sshjob.jobs.actions import Action
from luigi_sshjob.jobs.model import JobStatus, State
from luigi_sshjob.jobs.scheduled.view import SchedulerView


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The status of a job for people, and the next step if there is one."""

    status: JobStatus
    action: Action | None = None


def judged(status: JobStatus, state: State, reason: str, view: SchedulerView | None = None) -> JobStatus:
    """The status with this state and reason. With a view also that the scheduler does not respond, if it does not."""
    error = f"; {view.scheduler.title} does not respond: {view.error}" if view and view.error else ""
    return dataclasses.replace(status, state=state, reason=reason + error)
