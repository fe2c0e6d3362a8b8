"""Jobs on a real Slurm, reached through its login node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.model import State

from support import processes
from support.slurm_jobs import all_end, ends, running, state

# one cluster for all of them
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("slurm")]


EXAMPLES = Path(__file__).parents[3] / "examples"


def test_a_job_runs_on_a_node_with_its_log_and_record(slurm):
    outcome, log = slurm.run("hostname\nset -e\nfalse\necho never")
    assert log in (b"c1\n", b"c2\n")
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    outcome, log = slurm.run('echo "$FRUIT"', environment={"FRUIT": "apples & 'pears'"})
    assert (outcome.succeeded, log) == (True, b"apples & 'pears'\n")


def test_a_queued_job_shows_the_reason_and_then_its_node(slurm):
    job = slurm.submit(slurm.until_released(), options={"hold": True}).job
    processes.wait_until(lambda: "JobHeldUser" in state(slurm, job).reason, "the reason of the hold")
    assert state(slurm, job).state is State.QUEUED
    number = slurm.number(job)
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now+1hour")
    slurm.host.slurm("scontrol", "release", number)
    processes.wait_until(lambda: "expected to start 2" in state(slurm, job).reason, "the expected start", 30)
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now")
    processes.wait_until(lambda: f"job {number} on c" in state(slurm, job).reason, "the node it runs on", 30)
    assert state(slurm, job).state is State.RUNNING
    slurm.release()
    assert ends(slurm, job)[0].succeeded


def test_a_submission_that_slurm_rejects_fails_at_once_with_its_message(slurm):
    outcome, _ = ends(slurm, slurm.submit("true", options={"partition": "no-such"}).job)
    assert (outcome.state, outcome.scheduler) == ("failed", "REFUSED")
    assert "Invalid partition name" in outcome.reason


STUBBORN = "trap '' TERM\nwhile :; do sleep 0.2; done"


def test_every_kind_of_failure_is_distinguished(slurm):
    host, jobs = slurm.host, {}

    def submit(name, command="while :; do sleep 0.2; done", node="c1", grace=2, **options):
        slurm.key = name
        jobs[name] = slurm.submit(command, options={"nodelist": node, **options}, kill_grace=grace).job

    submit("failed", "exit 3")
    submit("time is up", time=1)
    submit("deadline", deadline="now+10seconds", time="0:05")
    submit("cancelled")
    submit("cancelled, and killed", STUBBORN, grace=60)
    submit("supervisor killed")
    submit("preempted", node="c2", mem=100)
    for name in ("cancelled", "cancelled, and killed", "supervisor killed", "preempted", "time is up"):
        processes.wait_until(lambda name=name: state(slurm, jobs[name]).state is State.RUNNING, name)
    for name in ("cancelled", "cancelled, and killed"):
        host.run("/usr/bin/scancel", slurm.number(jobs[name]))
    supervisor = f"kill -9 $(sed -n 's/^pid: //p' '{jobs['supervisor killed'].directory}/identity')"
    assert host.nodes["c1"].exec_run(["sh", "-c", supervisor]).exit_code == 0
    urgent = ["--partition=urgent", "--nodelist=c2", "--exclusive", "--chdir=/tmp", "--output=/dev/null", "--wrap=true"]
    host.run("/usr/bin/sbatch", *urgent)
    ended = {"preempted": ends(slurm, jobs.pop("preempted"))[0]}
    host.wait_for_nodes("idle", "c2")
    submit("node lost", node="c2")
    processes.wait_until(lambda: state(slurm, jobs["node lost"]).state is State.RUNNING, "the job on the node")
    host.nodes["c2"].kill()
    ended |= dict(zip(jobs, all_end(slurm, list(jobs.values()), seconds=100), strict=True))
    assert {name: (outcome.state, outcome.scheduler) for name, outcome in ended.items()} == {
        "failed": ("failed", ""),
        "time is up": ("timed_out", ""),
        "deadline": ("timed_out", "DEADLINE"),
        "cancelled": ("cancelled", "CANCELLED"),
        "cancelled, and killed": ("cancelled", "CANCELLED"),
        "supervisor killed": ("lost", "FAILED"),
        "preempted": ("killed", "PREEMPTED"),
        "node lost": ("lost", "NODE_FAIL"),
    }
    assert "NODE_FAIL (NodeDown) for job" in ended["node lost"].reason
    assert ended["cancelled"].reason.partition(" for job ")[0].endswith("Slurm reports CANCELLED")
    assert ended["time is up"].reason.startswith("the scheduler's time limit was about to expire")
    host.nodes["c2"].start()
    host.wait_for_nodes()


def test_a_time_limit_is_enforced_to_the_second_and_slurm_has_a_later_one(slurm):
    job = slurm.submit("sleep 60", time_limit=2).job
    processes.wait_until(lambda: state(slurm, job).state is State.RUNNING, "the job to run")
    assert "TimeLimit=00:02:00" in slurm.host.slurm("scontrol", "show", "job", slurm.number(job))
    outcome, _ = ends(slurm, job)
    assert (outcome.state, outcome.scheduler, "limit was about to expire" in outcome.reason) == ("timed_out", "", False)


def test_a_requeued_job_stays_one_attempt_and_says_so(slurm):
    base = f"{slurm.host.home}/{slurm.folder}"
    command = f'echo "$SECRET" >>{base}/ledger; {slurm.until_released("hostname")}'
    job, number = running(slurm, command, environment={"SECRET": "s3cret"}, options={"requeue": True})
    slurm.host.slurm("scontrol", "requeue", number)
    processes.wait_until(lambda: "requeued" in state(slurm, job).reason, "the job in the queue again", 30)
    assert state(slurm, job).state is State.QUEUED
    slurm.release()
    # Slurm would wait for cred_expire. A node does not start a job again in the second in which its credential was
    # revoked: it fails with "Job credential revoked".
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now+2seconds")
    outcome, _ = ends(slurm, job)
    assert (outcome.succeeded, outcome.reason) == (True, "the scheduler requeued it (restarts: 1)")
    assert slurm.host.run("cat", f"{base}/ledger") == "s3cret\ns3cret\n"
    assert slurm.host.run("cat", f"{job.directory}/environment") == ""


def test_a_queued_job_that_is_cancelled_never_begins_and_leaves_the_queue(slurm):
    job = slurm.submit("touch never", options={"hold": True}).job
    processes.wait_until(lambda: state(slurm, job).state is State.QUEUED, "the job in the queue")
    outcome = slurm.monitor.cancel(job, 2)
    assert (outcome.state, "before it was started" in outcome.reason) == ("cancelled", True)
    assert slurm.host.slurm("squeue", "--noheader", f"--jobs={slurm.number(job)}") == ""


def test_a_running_job_is_cancelled_with_its_grace(slurm):
    command = "trap 'echo told; sleep 1.5; echo done; exit' TERM\nwhile :; do sleep 0.1; done"
    job, _ = running(slurm, command)
    outcome = slurm.monitor.cancel(job, 2)
    assert (outcome.state, outcome.reason.startswith("by ")) == ("cancelled", True)
    assert slurm.client.status(job, 0).log.endswith(b"told\ndone\n")
    assert [call.split()[:2] for call in slurm.host.calls() if "scancel" in call] == [["scancel", "--batch"]]


def test_a_cancelled_job_whose_supervisor_hangs_is_ended_by_slurm(slurm):
    job, _ = running(slurm, STUBBORN)
    stop = f"kill -STOP $(sed -n 's/^pid: //p' {job.directory}/identity)"
    for node in slurm.host.nodes.values():
        node.exec_run(["sh", "-c", stop])
    slurm.host.run("sh", "-c", f"sed -i 's/^pid: .*/pid: 1/' {job.directory}/identity")
    assert slurm.monitor.cancel(job, 0).state == "cancelled"


@pytest.mark.parametrize("launcher", ["nohup", "slurm"])
def test_the_example_runs_unchanged_on_a_host_and_on_a_cluster(launcher, host, luigi_cfg, tmp_path, request):
    if launcher == "slurm":
        host = request.getfixturevalue("slurm").host
    settings = f"[sshjob]\nssh_config={host.ssh_config}\nruntime_dir={luigi_cfg.runtime_dir}\n"
    luigi_cfg.path.write_text(f"{settings}launcher={launcher}\nscheduler_interval=1\n")
    folder, log = host.run("mktemp", "-d", "-p", host.home).strip(), tmp_path / "log"
    before = host.accepted_logins()
    arguments = ("--module", "pi", "Pi", "--host", host.alias, "--directory", folder, "--local-scheduler")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])}
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "luigi", *arguments, "--workers", "8", "--no-lock"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    text = log.read_text()
    assert done.returncode == 0, text
    assert 3.1 < float(host.run("cat", f"{folder}/pi-8")) < 3.2
    nodes = set(re.findall(r"\] sampled on (\S+)", text))
    if launcher == "slurm":
        assert nodes <= {"c1", "c2"}
        # the eight samples are one array, and the merging another job
        assert [call.split()[0] for call in host.calls()].count("sbatch") == 2
        assert host.accepted_logins() == before + 1
    else:
        assert len(nodes) == 1
    host.run("rm", "-rf", folder, ".luigi-sshjob")


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
