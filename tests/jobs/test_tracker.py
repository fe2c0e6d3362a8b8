"""What follows from the statuses of a job."""

from __future__ import annotations

import time

import pytest

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.tracker import JobTracker


def test_a_job_on_another_machine_is_waited_for_while_its_log_grows():
    tracker = JobTracker(JobRef("gpu", "Task", 1, "/jobs/Task/1"), lambda _: None, start_timeout=1, stuck_timeout=0.2)
    elsewhere = JobStatus(State.ELSEWHERE, reason="it was started on gpu02")
    begin = time.monotonic()
    while time.monotonic() < begin + 0.6:
        tracker.update(JobStatus(State.ELSEWHERE, log=b"x"))
        time.sleep(0.01)
    tracker.update(elsewhere)
    time.sleep(0.3)
    with pytest.raises(JobError, match=r"elsewhere for 0 s: it was started on gpu02[\s\S]*forget --lost"):
        tracker.update(elsewhere)
