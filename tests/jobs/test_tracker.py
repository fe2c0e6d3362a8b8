"""What follows from the statuses of a job."""

from __future__ import annotations

import time

import pytest

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.tracker import JobTracker, Limits


def test_a_job_on_another_machine_is_waited_for_while_its_log_grows():
    job = JobRef("gpu", "Task", 1, "/jobs/Task/1")
    tracker = JobTracker(job, lambda _: None, Limits(1, stuck_timeout=0.2), "give it up")
    elsewhere = JobStatus(State.ELSEWHERE, reason="it was started on gpu02")
    begin = time.monotonic()
    while time.monotonic() < begin + 0.6:
        tracker.update(JobStatus(State.ELSEWHERE, log=b"x"))
        time.sleep(0.01)
    tracker.update(elsewhere)
    time.sleep(0.3)
    with pytest.raises(JobError, match=r"elsewhere for 0 s: it was started on gpu02[\s\S]*give it up"):
        tracker.update(elsewhere)


def test_a_job_is_queued_no_longer_than_the_queue_timeout():
    job = JobRef("box", "Task", 1, "/jobs/Task/1")
    tracker = JobTracker(job, lambda _: None, Limits(1, stuck_timeout=60, queue_timeout=0.2), "")
    queued = JobStatus(State.QUEUED, reason="Slurm job 5, Priority")
    tracker.update(queued)
    time.sleep(0.15)
    tracker.update(JobStatus(State.RUNNING))
    # requeued
    tracker.update(queued)
    time.sleep(0.15)
    tracker.update(queued)
    time.sleep(0.1)
    with pytest.raises(
        JobError, match=r"queued for 0 s: Slurm job 5, Priority[\s\S]*change what it waits for, or cancel it"
    ):
        tracker.update(queued)
