"""Jobs on a real Slurm, reached through its login node: what other schedulers do not have."""

from __future__ import annotations

import re

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import State

from support.following_task import Followed
from support.recording_tasks import noted

# one cluster for all of them
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("slurm")]


def test_a_queued_job_shows_the_reason_and_then_its_node(slurm):
    job = slurm.submit(slurm.until_released(), options={"hold": True}).job
    slurm.until(job, "JobHeldUser")
    assert slurm.state(job).state is State.QUEUED
    number = slurm.number(job)
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now+1hour")
    slurm.host.slurm("scontrol", "release", number)
    slurm.until(job, "expected to start 2")
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now")
    slurm.until(job, f"job {number} on c")
    assert slurm.state(job).state is State.RUNNING
    slurm.release()
    assert slurm.end(job).succeeded


class Delayed(Followed):
    launcher = "slurm"
    sbatch_options = {"begin": "now+3"}


@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_a_task_has_the_event_and_the_time_of_the_queue(slurm, build, tmp_path):
    notes = tmp_path / "notes"
    notes.touch()
    task = Delayed(slurm.host.alias, ".", str(notes), 0)
    assert build(task)
    assert noted(notes)[0][:4] == ["START", "SUBMITTED /1", "QUEUED /1", "STARTED /1"]
    outcome = task.job.outcome()
    assert 3 <= outcome.queue_seconds < 60
    slurm.host.run("rm", "-rf", ".luigi-sshjob")


NONE = Limits()
WARNED = "trap 'echo warned' USR2\nwhile :; do sleep 0.2; done"
STUBBORN = "trap '' TERM\nwhile :; do sleep 0.2; done"


def test_every_kind_of_failure_is_distinguished(slurm):
    host, jobs = slurm.host, {}

    def submit(name, command="while :; do sleep 0.2; done", node="c1", grace=2, limits=NONE, **options):
        slurm.key = name
        jobs[name] = slurm.submit(command, options={"nodelist": node, **options}, kill_grace=grace, limits=limits).job

    submit("failed", "exit 3")
    submit("time is up", WARNED, limits=Limits(warning_signal="USR2", warning=3), time=1)
    submit("deadline", deadline="now+10seconds", time="0:05")
    submit("cancelled")
    submit("cancelled, and killed", STUBBORN, grace=60)
    submit("preempted", node="c2", mem=100)
    for name in ("cancelled", "cancelled, and killed", "preempted", "time is up"):
        slurm.until_state(jobs[name], State.RUNNING)
    for name in ("cancelled", "cancelled, and killed"):
        host.run("/usr/bin/scancel", slurm.number(jobs[name]))
    urgent = ["--partition=urgent", "--nodelist=c2", "--exclusive", "--chdir=/tmp", "--output=/dev/null", "--wrap=true"]
    host.run("/usr/bin/sbatch", *urgent)
    ended = {"preempted": slurm.end(jobs.pop("preempted"))}
    host.wait_for_nodes("idle", "c2")
    submit("node lost", node="c2")
    slurm.until_state(jobs["node lost"], State.RUNNING)
    host.nodes["c2"].kill()
    ended |= dict(zip(jobs, slurm.ends(list(jobs.values()), seconds=100), strict=True))
    assert {name: (outcome.state, outcome.scheduler) for name, outcome in ended.items()} == {
        "failed": ("failed", ""),
        "time is up": ("timed_out", ""),
        "deadline": ("timed_out", "DEADLINE"),
        "cancelled": ("cancelled", "CANCELLED"),
        "cancelled, and killed": ("cancelled", "CANCELLED"),
        "preempted": ("killed", "PREEMPTED"),
        "node lost": ("lost", "NODE_FAIL"),
    }
    assert slurm.log(jobs["time is up"]) == b"warned\n"
    assert "NODE_FAIL (NodeDown) for job" in ended["node lost"].reason
    assert ended["cancelled"].reason.partition(" for job ")[0].endswith("Slurm reports CANCELLED")
    assert ended["time is up"].reason.startswith("the scheduler's time limit was about to expire")
    host.nodes["c2"].start()
    host.wait_for_nodes()


def test_slurm_has_a_later_limit_than_the_task(slurm):
    job = slurm.running(time_limit=30)
    assert "TimeLimit=00:02:00" in slurm.host.slurm("scontrol", "show", "job", slurm.number(job))
    slurm.monitor.cancel(job, 1)


def test_a_requeued_job_stays_one_attempt_and_says_so(slurm):
    base = f"{slurm.host.home}/{slurm.folder}"
    command = f'echo "$SECRET" >>{base}/ledger; {slurm.until_released("hostname")}'
    job = slurm.running(command, environment={"SECRET": "s3cret"}, options={"requeue": True})
    number = slurm.number(job)
    slurm.host.slurm("scontrol", "requeue", number)
    slurm.until(job, "requeued")
    assert slurm.state(job).state is State.QUEUED
    slurm.release()
    # Slurm would wait for cred_expire. A node does not start a job again in the second in which its credential was
    # revoked: it fails with "Job credential revoked".
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now+2seconds")
    outcome = slurm.end(job)
    assert (outcome.succeeded, outcome.reason) == (True, "the scheduler requeued it (restarts: 1)")
    assert slurm.host.run("cat", f"{base}/ledger") == "s3cret\ns3cret\n"
    assert slurm.host.run("cat", f"{job.directory}/environment") == ""


def test_a_cancelled_job_gets_one_signal_from_slurm_if_that_is_enough(slurm):
    job = slurm.running()
    assert slurm.monitor.cancel(job, 4).state == "cancelled"
    assert [call.split()[:2] for call in slurm.calls("scancel")] == [["scancel", "--batch"]]


def test_a_cancelled_job_whose_supervisor_hangs_is_ended_by_slurm(slurm):
    job = slurm.running(STUBBORN)
    stop = f"kill -STOP $(sed -n 's/^pid: //p' {job.directory}/identity)"
    for node in slurm.host.nodes.values():
        node.exec_run(["sh", "-c", stop])
    slurm.host.run("sh", "-c", f"sed -i 's/^pid: .*/pid: 1/' {job.directory}/identity")
    assert slurm.monitor.cancel(job, 0).state == "cancelled"


def test_a_job_that_was_submitted_twice_runs_once(slurm):
    job = slurm.running(f"echo run; {slurm.until_released()}")
    number = slurm.number(job)
    library = slurm.host.run("sh", "-c", f"ls -d {slurm.host.home}/{slurm.folder}/lib/[0-9a-f]*").strip()
    words = (
        "--wait",
        "--output=/dev/null",
        f"{library}/scheduler_entry.sh",
        library,
        "0022",
        "$SLURM_JOB_ID",
        "0",
        "0",
        "one",
    )
    slurm.host.run("/usr/bin/sbatch", *words, job.directory)
    slurm.release()
    assert (slurm.end(job).succeeded, slurm.number(job)) == (True, number)
    assert slurm.host.run("cat", f"{job.directory}/log") == "run\n"


def test_the_doctor_sends_jobs_to_the_nodes(slurm, capsys):
    assert main(["doctor", slurm.host.alias]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^note  slurm +slurm-wlm \S+ responds", said, re.MULTILINE)
    assert "\n    launcher = slurm\n" in said


class OnNode(RemoteJobTask):
    """Makes its output in a directory that each node has of its own."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    launcher = "slurm"
    poll_interval = 1

    def command(self):
        return 'echo run >>~/on-node-ledger; touch "$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target("/var/tmp/on-node/out")


def test_an_output_that_only_the_node_has_is_an_error_and_not_another_run(slurm):
    for _ in range(2):
        with pytest.raises(JobError, match=r"outputs do not exist on the host: /var/tmp/on-node/out") as refused:
            OnNode(slurm.host.alias, slurm.base).run()
        assert "luigi-sshjob collect" in refused.value.next_step
    assert slurm.host.run("cat", "on-node-ledger") == "run\n"
    slurm.host.run("rm", "on-node-ledger")
