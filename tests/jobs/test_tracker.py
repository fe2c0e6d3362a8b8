"""What follows from the statuses of a job."""

from __future__ import annotations

import pytest

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.tracker import JobTracker, Limits


def test_a_job_on_another_machine_is_waited_for_while_its_log_grows(clock):
    job = JobRef("gpu", "Task", 1, "/jobs/Task/1")
    tracker = JobTracker(job, lambda _: None, Limits(1, stuck_timeout=20), "give it up")
    elsewhere = JobStatus(State.ELSEWHERE, reason="it was started on gpu02")
    for _ in range(4):
        clock.now += 19
        tracker.update(JobStatus(State.ELSEWHERE, log=b"x"))
    clock.now += 19
    tracker.update(elsewhere)
    clock.now += 2
    with pytest.raises(JobError, match=r"elsewhere for 21 s: it was started on gpu02[\s\S]*give it up"):
        tracker.update(elsewhere)


def test_a_job_is_queued_no_longer_than_the_queue_timeout(clock):
    job = JobRef("box", "Task", 1, "/jobs/Task/1")
    tracker = JobTracker(job, lambda _: None, Limits(1, stuck_timeout=60, queue_timeout=20), "")
    queued = JobStatus(State.QUEUED, reason="Slurm job 5, Priority")
    tracker.update(queued)
    clock.now += 15
    tracker.update(JobStatus(State.RUNNING))
    # requeued
    tracker.update(queued)
    clock.now += 15
    tracker.update(queued)
    clock.now += 6
    with pytest.raises(
        JobError, match=r"queued for 21 s: Slurm job 5, Priority[\s\S]*change what it waits for, or cancel it"
    ):
        tracker.update(queued)
