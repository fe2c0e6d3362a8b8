"""Retries of jobs that a real Slurm, or the kernel of its node, has ended."""

from __future__ import annotations

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.jobs.model import State

from support import processes

# one cluster for all of them
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("slurm")]

MIB = 1 << 20


class Hungry(RemoteJobTask):
    """Needs more memory than its node has, unless it asks Slurm for 200 MiB."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    launcher = "slurm"
    poll_interval = 1
    retries = {"memory": 1, "preempted": 1}

    @property
    def sbatch_options(self):
        return {"mem": 100 * (2 if self.previous else 1), "nodelist": "c1"}

    def command(self):
        # what Slurm has given, in MiB
        return """#!/bin/sh
            echo "$SSHJOB_ID $SLURM_MEM_PER_NODE" >>~/retries-ledger
            [ "$SLURM_MEM_PER_NODE" -ge 200 ] || perl -e '$x = "x" x 1e9; sleep 60'
        """


class Patient(Hungry):
    retries = {"preempted": 1}

    def command(self):
        return 'echo "$SSHJOB_ID" >>~/retries-ledger; [ "${SSHJOB_ID##*/}" = 2 ] || while :; do sleep 0.2; done'


@pytest.fixture
def ledger(slurm):
    """Returns the lines that jobs have written."""
    yield lambda: slurm.host.run("sh", "-c", "cat retries-ledger 2>/dev/null || true").splitlines()
    slurm.host.run("rm", "-f", "retries-ledger")


# the kernel counts what it kills for the whole machine, and records of others' jobs would tell of it
@pytest.mark.alone
@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_a_job_that_ran_out_of_memory_asks_for_more(slurm, build, short_pauses, ledger):
    task = Hungry(slurm.host.alias, slurm.base)
    node = slurm.host.nodes["c1"]
    node.update(mem_limit=200 * MIB, memswap_limit=200 * MIB)
    try:
        assert build(task)
    finally:
        node.update(mem_limit=20_000 * MIB, memswap_limit=20_000 * MIB)
    assert ledger() == [f"{task.task_id}/1 100", f"{task.task_id}/2 200"]
    previous = task.previous
    assert (previous.label, previous.outcome.exit_code, previous.outcome.out_of_memory) == (
        "memory 1/1",
        137,
        "machine",
    )


@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_a_preempted_job_is_submitted_again(slurm, build, short_pauses, ledger):
    task = Patient(slurm.host.alias, slurm.base)
    run = task.prepare_run()
    run.submit()
    processes.wait_until(lambda: run.jobs.client.status(run.job).state is State.RUNNING, "the job to run", 60)
    urgent = ["--partition=urgent", "--nodelist=c1", "--exclusive", "--chdir=/tmp", "--output=/dev/null", "--wrap=true"]
    slurm.host.run("/usr/bin/sbatch", *urgent)
    assert build(task)
    assert ledger() == [f"{task.task_id}/1", f"{task.task_id}/2"]
    previous = task.previous
    assert (previous.label, previous.outcome.state, previous.outcome.scheduler) == (
        "preempted 1/1",
        "killed",
        "PREEMPTED",
    )
