"""The schedulers of one session of a host, and the jobs in them that a client watches. No I/O."""

from __future__ import annotations

import dataclasses
import time

from luigi_sshjob.jobs.launchers.registry import SCHEDULERS
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.scheduled.judge import ScheduledJob
from luigi_sshjob.jobs.scheduled.verdict import Verdict
from luigi_sshjob.jobs.scheduled.view import SchedulerView
from luigi_sshjob.ssh.shell.remote_shell import Response

_IDS = 100  # in one request; a question about more could take longer than its time limit
_SOON = 1.0  # seconds until the next request for a scheduler that has not answered yet


@dataclasses.dataclass
class _Queue:
    view: SchedulerView
    next_request: float = 0.0
    jobs: dict[JobRef, ScheduledJob] = dataclasses.field(default_factory=dict)


class Schedulers:
    """Judges the jobs that have a scheduler. `interval` is the pause between two questions to it, in seconds."""

    def __init__(self, interval: float):
        self._interval = interval
        self._queues: dict[str, _Queue] = {}
        self._statuses: dict[JobRef, JobStatus] = {}
        self._session = ""

    def judge(self, job: JobRef, status: JobStatus | None) -> Verdict | None:
        """Judge a new status of the host, or the last one again; None for a job that needs no scheduler."""
        if status is not None:
            # what was told once is not told again
            self._statuses[job] = dataclasses.replace(status, log=b"", known_log=None, running_for=None)
        status = status or self._statuses.get(job)
        if status is None or status.scheduled is None:
            self.forget(job)
            return None
        if status.scheduled.session != self._session:
            # it counts moments of its own
            self._queues.clear()
            self._session = status.scheduled.session
        name = status.scheduled.scheduler
        if name not in SCHEDULERS:
            reason = f"this version does not support the scheduler {name}"
            return Verdict(dataclasses.replace(status, state=State.UNKNOWN, reason=reason))
        if name not in self._queues:
            self._queues[name] = _Queue(SchedulerView(SCHEDULERS[name], self._interval))
        queue = self._queues[name]
        return queue.jobs.setdefault(job, ScheduledJob(queue.view.scheduler)).judge(status, queue.view)

    def forget(self, job: JobRef) -> None:
        """Do not ask for the job any more."""
        self._statuses.pop(job, None)
        for queue in self._queues.values():
            queue.jobs.pop(job, None)
        # what is not asked for any more is soon out of date
        self._queues = {name: queue for name, queue in self._queues.items() if queue.jobs}

    def due_requests(self, at_once: bool = False) -> dict[str, tuple[str, ...]]:
        """The requests to send now, by the names of the schedulers; each response goes to `update`."""
        now = time.monotonic()
        due: dict[str, tuple[str, ...]] = {}
        for name, queue in self._queues.items():
            if at_once or now >= queue.next_request:
                queue.next_request = now + self._interval
                ids = sorted({job_id for job in queue.jobs.values() for job_id in job.asks}, key=queue.view.asked_at)
                due[name] = queue.view.request(next(iter(queue.jobs)).base_directory, ids[:_IDS])
        return due

    def update(self, name: str, response: Response) -> list[JobRef]:
        """Take a response; returns the jobs that it concerns."""
        queue = self._queues.get(name)
        due, _, session = next((part.value for part in response.parts if part.kind == "due"), "").partition(" ")
        if queue is None or session != self._session:
            return []
        queue.view.update(response)
        # not later than without an answer, whatever the host says
        queue.next_request = time.monotonic() + min(max(_SOON / 2, float(due or _SOON)), max(_SOON, self._interval))
        return list(queue.jobs)

    def answered(self) -> bool:
        """Whether each scheduler has just been listed, or has failed to list its jobs."""
        return all(queue.view.answered for queue in self._queues.values())

    def listed(self, status: JobStatus) -> bool:
        """Whether the scheduler of the job has just been listed."""
        queue = self._queues.get(status.scheduled.scheduler) if status.scheduled else None
        return bool(queue and queue.view.fresh)
