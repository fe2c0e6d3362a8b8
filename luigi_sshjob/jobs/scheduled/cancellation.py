"""Has schedulers end jobs: a signal to the supervisor first, and the scheduler's own means after the grace period."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from luigi_sshjob.jobs.launchers.registry import SCHEDULERS
from luigi_sshjob.jobs.launchers.scheduler import Scheduler
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts, job_id_of, parse_answer
from luigi_sshjob.jobs.scheduled.requests import call_request
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import Response

_LATE_RECORD = 5.0  # seconds in which a record may arrive through a network file system
_REPEAT = 10.0  # seconds between two calls for the same job
_TOGETHER = 100  # ids in one call


class Cancellation:
    """Remembers what was done about each job."""

    def __init__(self) -> None:
        self._signalled: dict[JobRef, float] = {}
        self._called: dict[JobRef, float] = {}

    def requests(
        self, jobs: Mapping[JobRef, ScheduledFacts], graces: Mapping[JobRef, float], waiting: Collection[JobRef]
    ) -> Iterator[tuple[tuple[str, ...], Sequence[JobRef]]]:
        """The requests that are due, each with its jobs: verb and arguments. Grace periods are seconds.

        A job that is `waiting` to run again has no process to signal.
        """
        calls: dict[tuple[str, str, str], dict[JobRef, str]] = {}
        for job, facts in jobs.items():
            scheduler = SCHEDULERS.get(facts.scheduler)
            job_id = job_id_of(scheduler, facts) if scheduler else ""
            if (
                scheduler
                and job_id
                and (line := self._line(scheduler, job, graces[job], facts.started and job not in waiting))
            ):
                calls.setdefault((scheduler.name, line, job.base_directory), {})[job] = job_id
        for (name, line, _), ids in calls.items():
            for begin in range(0, len(ids), _TOGETHER):
                called = list(ids)[begin : begin + _TOGETHER]
                yield call_request(called[0], SCHEDULERS[name], line, [ids[job] for job in called]), called

    def answer(self, response: Response) -> str:
        """What the scheduler has said against it; empty if nothing."""
        answer, _ = parse_answer("".join(quoting.decode(part.content) for part in response.parts))
        return "" if answer is None or answer.status == 0 else answer.message

    def _line(self, scheduler: Scheduler, job: JobRef, grace: float, runs: bool) -> str:
        now = time.monotonic()
        if now - self._called.get(job, -_REPEAT) < _REPEAT:
            return ""
        line = scheduler.cancel
        if runs and scheduler.signal:
            if job not in self._signalled:
                line = scheduler.signal
            elif now - self._signalled[job] <= grace + _LATE_RECORD:
                line = ""
            self._signalled.setdefault(job, now)
        if line:
            self._called[job] = now
        return line
