"""The events of a job: more of them than Luigi has for a task."""

from __future__ import annotations

from collections.abc import Callable

from luigi_sshjob.jobs.model import JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome


class JobEvent:
    """Events of a running task, for `RemoteJobTask.event_handler`, as those of `luigi.Event`.

    Handlers get the task and the `Job`; those of `LOGIN_NEEDED` the task and the `LoginNeeded`. The thread that also
    triggers Luigi's events calls them, once for an attempt in each run of the task.
    """

    SUBMITTED = "event.luigi_sshjob.submitted"
    """This run has submitted a new attempt."""
    ATTACHED = "event.luigi_sshjob.attached"
    """This run has found an attempt that is running, or whose outcome was not collected."""
    QUEUED = "event.luigi_sshjob.queued"
    """The job is in the queue of a scheduler, or waits for slots."""
    STARTED = "event.luigi_sshjob.started"
    """The job is running, or has run if it ended before that was seen."""
    LOST = "event.luigi_sshjob.lost"
    """It is unknown how the job ended. The event `FAILURE` follows."""
    LOGIN_NEEDED = "event.luigi_sshjob.login_needed"
    """The host waits for a person to log in."""


LOGIN_NEEDED = JobEvent.LOGIN_NEEDED
"""The same as `JobEvent.LOGIN_NEEDED`."""

_OF_STATES = {
    State.QUEUED: JobEvent.QUEUED,
    State.RUNNING: JobEvent.STARTED,
    State.UNSUPERVISED: JobEvent.STARTED,
}


class AttemptEvents:
    """Triggers the events of one attempt, each once."""

    def __init__(self, trigger: Callable[[str], None], *, attached: bool):
        self._trigger = trigger
        self._triggered: set[str] = set()
        self._once(JobEvent.ATTACHED if attached else JobEvent.SUBMITTED)

    def observe(self, status: JobStatus) -> None:
        """Takes a status of the job."""
        event = _OF_STATES.get(status.state)
        if event:
            self._once(event)

    def end(self, outcome: Outcome) -> None:
        """Takes the outcome."""
        if outcome.started:
            self._once(JobEvent.STARTED)
        if outcome.state == "lost":
            self._once(JobEvent.LOST)

    def _once(self, event: str) -> None:
        if event not in self._triggered:
            self._triggered.add(event)
            self._trigger(event)
