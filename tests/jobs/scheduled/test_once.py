"""Single looks at a scheduler. The requests are answered by the test."""

from __future__ import annotations

from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.scheduled.facts import parse_facts
from luigi_sshjob.jobs.scheduled.once import look
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

JOB = JobRef("host", "Task", 1, "/base/jobs/Task/1")
FACTS = parse_facts("scheduler: slurm\nstarted: yes\nid: 77\nmachine: c1", "", "", 7, "s1")
RUNNING = "o77|RUNNING|N/A|c1|Task/1|/base/jobs/Task/1|//|None\n"


def state_after(*answers):
    """The state of a job, and the number of requests, if the last of these answers is repeated."""
    left, requests = list(answers), 0

    def send(words):
        nonlocal requests
        requests += 1
        moment, age, text = left.pop(0) if len(left) > 1 else left[0]
        part = ResponsePart("listing", moment, str(age), text.encode())
        return Response(0, b"", (part, ResponsePart("due", 0, "1 s1", b"")))

    status = JobStatus(State.QUEUED, scheduled=FACTS)
    return look(Schedulers(15), {JOB: status}, send)[JOB].state, requests


def test_a_recent_listing_is_enough():
    assert state_after((3, 20, f"status: 0\n{RUNNING}")) == (State.RUNNING, 1)


def test_an_old_answer_is_not_taken_for_a_new_one():
    new = (8, 0, f"status: 0\n{RUNNING}")
    for old in (f"status: 0\n{RUNNING}", "status: 1\neout of order\n"):
        assert state_after((3, 600, old), new) == (State.RUNNING, 2)


def test_without_a_recent_listing_nothing_is_known():
    assert state_after((3, 0, "status: 1\neout of order\n")) == (State.UNKNOWN, 1)
    state, requests = state_after((3, 600, f"status: 0\n{RUNNING}"))
    assert (state, requests > 3) == (State.UNKNOWN, True)
