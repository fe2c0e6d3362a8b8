"""How a job of a scheduler is ended, without a host and without a scheduler."""

from __future__ import annotations

from luigi_sshjob.jobs.launchers.slurm import SLURM
from luigi_sshjob.jobs.scheduled.cancellation import Cancellation
from luigi_sshjob.jobs.scheduled.facts import parse_facts

from support.scheduler_story import ACCEPTED, JOB

STARTED = parse_facts("scheduler: slurm\nstarted: yes\nid: 77", ACCEPTED, "", 0)


def line_of(cancellation, waiting=()):
    """The command that is sent, if any."""
    requests = list(cancellation.requests({JOB: STARTED}, {JOB: 20.0}, waiting))
    return requests[0][0][3] if requests else ""


def test_a_running_job_is_signalled_and_cancelled_after_its_grace(clock):
    cancellation = Cancellation()
    assert line_of(cancellation) == SLURM.signal
    clock.now += 24
    assert line_of(cancellation) == ""
    clock.now += 2
    assert line_of(cancellation) == SLURM.cancel
    clock.now += 5
    assert line_of(cancellation) == ""


def test_a_job_that_waits_to_run_again_is_not_signalled(clock):
    """A signal to a job without processes takes as long as its time limit."""
    assert line_of(Cancellation(), waiting={JOB}) == SLURM.cancel
