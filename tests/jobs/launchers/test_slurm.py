"""Jobs on a real Slurm, reached through its login node."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.control_master import end_masters
from support.jobs import Bench
from support.session import SESSION
from support.settings import configure
from support.slurm_cluster import Cluster

# one cluster for all of them
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("slurm")]

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def cluster(pytestconfig, tmp_path_factory):
    session = pytestconfig.stash[SESSION]
    made = Cluster(session.root / "slurm", client=session.docker)
    made.start()
    yield made
    made.stop()


# Kills whoever waits for the answer, up to the shell that serves us.
KILL_AFTER = r"""
/usr/bin/sbatch "$@" >/dev/null
parent=$PPID
while tr '\0' ' ' </proc/$parent/cmdline | grep -qx '/bin/sh -s '; do
  next=$(awk '{print $4}' /proc/$parent/stat)
  kill -9 $parent
  parent=$next
done
touch /var/tmp/hit
"""

REFUSE_ARRAYS = """
case "$*" in
  *--array=*) echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1 ;;
esac
exec /usr/bin/sbatch "$@"
"""


@contextlib.contextmanager
def faulty(host, program, script):
    """While the block runs the script stands for the program."""
    place = f"/usr/local/bin/{program}"
    host.run("sh", "-c", f"mv {place} {place}.good; rm -f /var/tmp/hit", user="root")
    host.run("sh", "-c", f"cat >{place}; chmod 755 {place}", user="root", input=f"#!/bin/sh\n{script}")
    try:
        yield
    finally:
        # the next test has the same cluster
        host.run("sh", "-c", f"mv -f {place}.good {place}; rm -f /var/tmp/hit", user="root")


class SlurmBench(Bench):
    launcher = "slurm"
    interval = 1

    @property
    def monitor(self) -> JobMonitor:
        return JobMonitor(self.control, Retry(60), poll_interval=0.3, start_timeout=3, launches=100)

    def submit(self, command: str, *, options=None, batch=1, time_limit=0, kill_grace=2, **request):
        launch_options = LaunchOptions(options or {}, batch, time_limit, kill_grace, self.interval)
        launch = get_launcher("slurm").launch(launch_options)
        return super().submit(command, launch=launch, time_limit=time_limit, kill_grace=kill_grace, **request)

    def submit_many(self, count, command):
        """As one array."""
        jobs = []
        for number in range(count):
            self.key = f"Element_{number}"
            jobs.append(self.submit(command, batch=count).job)
        return jobs

    def known_to_slurm(self, job):
        """The numbers of all that it has of this attempt."""
        jobs = self.host.slurm("squeue", "--noheader", "--states=all", f"--name={job.id}", "--format=%i|%Z")
        return [number for number, _, place in (line.partition("|") for line in jobs.split()) if place == job.directory]

    def number(self, job):
        """Slurm's own of the job."""
        return self.host.run("cat", f"{job.directory}/scheduler_id").strip()


@pytest.fixture
def slurm(cluster, luigi_cfg, request):
    configure(ssh_config=cluster.ssh_config)
    cluster.forget_calls()
    bench = SlurmBench(cluster, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8])
    yield bench
    close_shells()
    cluster.slurm("scancel", "--user=job")
    cluster.run("rm", "-rf", bench.folder, bench.go)
    end_masters(luigi_cfg.runtime_dir, cluster)


def test_a_job_runs_on_a_node_with_log_and_record_as_anywhere(slurm):
    outcome, log = slurm.run("hostname\nset -e\nfalse\necho never")
    assert log in (b"c1\n", b"c2\n")
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    outcome, log = slurm.run('echo "$FRUIT"', environment={"FRUIT": "apples & 'pears'"})
    assert (outcome.succeeded, log) == (True, b"apples & 'pears'\n")


def state(slurm, job):
    return slurm.control.status(job)


def ends(slurm, job):
    """The outcome, waited for as a task does, and the states that were told before."""
    told = []
    outcome = slurm.monitor.wait(job, lambda seen: told.append((seen.state, seen.reason)))
    slurm.control.collect(job)
    return outcome, told


def all_end(slurm, jobs, seconds=70):
    """Their outcomes, asked for all together."""

    def look():
        ended.update((job, outcome) for job in jobs if (outcome := slurm.control.status(job).outcome))
        return len(ended) == len(jobs)

    ended = {}
    try:
        processes.wait_until(look, "the end of all jobs", seconds)
    except TimeoutError as error:
        left = {job: state(slurm, job) for job in jobs if job not in ended}
        told = [f"{job.id}: {seen.state.value}, {seen.reason}" for job, seen in left.items()]
        raise TimeoutError("\n".join([str(error), *told[:10], slurm.host.told()])) from None
    return [ended[job] for job in jobs]


def running(slurm, command="while :; do sleep 0.2; done", **request):
    """A job that runs, and Slurm's number of it."""
    job = slurm.submit(command, **request).job
    processes.wait_until(lambda: state(slurm, job).state is State.RUNNING, "the job to run", 30)
    return job, slurm.number(job)


def test_a_queued_job_is_told_with_the_reason_and_the_node_it_runs_on_then(slurm):
    job = slurm.submit(slurm.until_told(), options={"hold": True}).job
    processes.wait_until(lambda: "JobHeldUser" in state(slurm, job).reason, "the reason of the hold")
    assert state(slurm, job).state is State.QUEUED
    number = slurm.number(job)
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now+1hour")
    slurm.host.slurm("scontrol", "release", number)
    processes.wait_until(lambda: "expected to start 2" in state(slurm, job).reason, "the expected start", 30)
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now")
    processes.wait_until(lambda: f"job {number} on c" in state(slurm, job).reason, "the node it runs on", 30)
    assert state(slurm, job).state is State.RUNNING
    slurm.tell()
    assert ends(slurm, job)[0].succeeded


def test_a_submission_that_slurm_refuses_fails_at_once_with_its_words(slurm):
    outcome, _ = ends(slurm, slurm.submit("true", options={"partition": "no-such"}).job)
    assert (outcome.state, outcome.scheduler) == ("failed", "REFUSED")
    assert "Invalid partition name" in outcome.reason


STUBBORN = "trap '' TERM\nwhile :; do sleep 0.2; done"


def test_every_bad_end_is_told_apart(slurm):
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
    assert "NODE_FAIL (NodeDown) of its job" in ended["node lost"].reason
    assert ended["cancelled"].reason.partition(" of its job ")[0].endswith("Slurm says CANCELLED")
    assert ended["time is up"].reason.startswith("the scheduler's time limit was near")
    host.nodes["c2"].start()
    host.wait_for_nodes()


def test_a_time_limit_is_kept_to_the_second_and_slurm_has_a_later_one(slurm):
    job = slurm.submit("sleep 60", time_limit=2).job
    processes.wait_until(lambda: state(slurm, job).state is State.RUNNING, "the job to run")
    assert "TimeLimit=00:02:00" in slurm.host.slurm("scontrol", "show", "job", slurm.number(job))
    outcome, _ = ends(slurm, job)
    assert (outcome.state, outcome.scheduler, "limit was near" in outcome.reason) == ("timed_out", "", False)


def test_a_requeued_job_stays_one_attempt_and_says_so(slurm):
    base = f"{slurm.host.home}/{slurm.folder}"
    command = f'echo "$SECRET" >>{base}/ledger; {slurm.until_told("hostname")}'
    job, number = running(slurm, command, environment={"SECRET": "s3cret"}, options={"requeue": True})
    slurm.host.slurm("scontrol", "requeue", number)
    processes.wait_until(lambda: "requeued" in state(slurm, job).reason, "the job in the queue again", 30)
    assert state(slurm, job).state is State.QUEUED
    slurm.tell()
    # Slurm would wait for cred_expire
    slurm.host.slurm("scontrol", "update", f"jobid={number}", "starttime=now")
    outcome, _ = ends(slurm, job)
    assert (outcome.succeeded, outcome.reason) == (True, "the scheduler has put it back into its queue (1)")
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
    assert slurm.control.status(job, 0).log.endswith(b"told\ndone\n")
    assert [call.split()[:2] for call in slurm.host.calls() if "scancel" in call] == [["scancel", "--batch"]]


def test_a_cancelled_job_whose_supervisor_hangs_is_ended_by_slurm(slurm):
    job, _ = running(slurm, STUBBORN)
    stop = f"kill -STOP $(sed -n 's/^pid: //p' {job.directory}/identity)"
    for node in slurm.host.nodes.values():
        node.exec_run(["sh", "-c", stop])
    slurm.host.run("sh", "-c", f"sed -i 's/^pid: .*/pid: 1/' {job.directory}/identity")
    assert slurm.monitor.cancel(job, 0).state == "cancelled"


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_submission_whose_answer_is_lost_is_found_again_and_not_made_twice(slurm, when):
    """The far end dies after Slurm has taken the job, or before, and nobody has heard."""
    host, base = slurm.host, f"{slurm.host.home}/{slurm.folder}"
    slurm.key = f"Lost_{when}"
    with faulty(host, "sbatch", KILL_AFTER if when == "after" else KILL_AFTER.replace("/usr/bin/sbatch", "true")):
        job = slurm.submit(f"echo run >>{base}/ledger", options={"hold": True}).job
        processes.wait_until(lambda: host.run("sh", "-c", "ls /var/tmp/hit 2>/dev/null || true"), "the fault")
    assert host.run("sh", "-c", f"ls {job.directory}/scheduler_id 2>/dev/null || true") == ""
    assert len(slurm.known_to_slurm(job)) == (when == "after")
    again = slurm.submit(f"echo run >>{base}/ledger", options={"hold": True})
    assert (again.attached, again.job) == (True, job)
    processes.wait_until(lambda: state(slurm, job).state is State.QUEUED, "the job to be found")
    assert slurm.known_to_slurm(job) == [slurm.number(job)]
    host.slurm("scontrol", "release", slurm.number(job))
    assert ends(slurm, job)[0].succeeded
    assert host.run("cat", f"{base}/ledger") == "run\n"


def test_a_job_that_was_submitted_twice_all_the_same_runs_once(slurm):
    job, number = running(slurm, f"echo run; {slurm.until_told()}")
    library = slurm.host.run("sh", "-c", f"ls -d {slurm.host.home}/{slurm.folder}/lib/[0-9a-f]*").strip()
    words = ("--wait", "--output=/dev/null", f"{library}/slurm_entry.sh", library, "0022", job.directory)
    slurm.host.run("/usr/bin/sbatch", *words)
    slurm.tell()
    outcome, _ = ends(slurm, job)
    assert (outcome.succeeded, slurm.number(job)) == (True, number)
    assert slurm.host.run("cat", f"{job.directory}/log") == "run\n"


def test_a_job_whose_directory_was_deleted_is_not_run_beside_itself(slurm):
    job, number = running(slurm)
    slurm.host.run("rm", "-rf", job.directory)
    with pytest.raises(RemoteCommandFailed, match=rf"directory was deleted \(job {number}\)"):
        slurm.submit("true")
    slurm.host.slurm("scancel", number)

    def gone() -> bool:
        return not slurm.host.slurm("squeue", "--noheader", f"--jobs={number}", "--states=RUNNING,COMPLETING")

    processes.wait_until(gone, "its end")
    assert slurm.submit("true").job.attempt == 1


def test_while_slurm_does_not_answer_ends_are_seen_all_the_same_and_submissions_wait(slurm):
    host = slurm.host
    job, _ = running(slurm, slurm.until_told("echo let go"))
    host.run("pkill", "-x", "slurmctld", user="root")
    processes.wait_until(lambda: "slurmctld" not in host.run("ps", "-A", "-o", "comm", user="root"), "its end")
    told = []
    waiting = threading.Thread(target=lambda: slurm.monitor.wait(job, told.append))
    waiting.start()
    slurm.key = "Late"
    try:
        late = slurm.submit("echo late").job
        processes.wait_until(lambda: any("Slurm does not answer: " in seen.reason for seen in told), "the silence", 60)
        assert told[-1].state is State.RUNNING
        host.forget_calls()
        slurm.tell()
        waiting.join(10)
        assert told[-1].outcome.succeeded
        assert b"".join(seen.log for seen in told) == b"let go\n"
        processes.wait_until(lambda: "nable to contact" in state(slurm, late).reason, "the reason", 60)
        assert state(slurm, late).state is State.CLAIMED
    finally:
        host.run("slurmctld", user="root")
        host.wait_for_nodes()
    outcome, _ = ends(slurm, late)
    assert outcome.succeeded
    assert slurm.known_to_slurm(late) == [slurm.number(late)]


def test_a_slurm_that_answers_with_errors_is_asked_less_and_less_often(slurm):
    job, _ = running(slurm)
    error = "echo squeue >>/var/tmp/calls; echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1"
    told = []
    with faulty(slurm.host, "squeue", error):
        slurm.host.forget_calls()
        watching = threading.Thread(target=lambda: slurm.monitor.wait(job, told.append))
        watching.start()
        processes.wait_until(lambda: len(slurm.host.calls()) >= 3, "three questions")
        since = time.monotonic()
        processes.wait_until(lambda: len(slurm.host.calls()) >= 4, "one more")
        assert 3 < time.monotonic() - since < 10
        assert told[-1].reason.endswith("Slurm does not answer: slurm_load_jobs error: Socket timed out")
        assert told[-1].state is State.RUNNING
    assert slurm.monitor.cancel(job, 2).state == "cancelled"
    watching.join(20)
    assert told[-1].outcome.state == "cancelled"


def test_two_hundred_jobs_as_one_array_cost_one_login_and_few_questions(slurm):
    """Each with a record, a log and a fate of its own."""
    before, base = slurm.host.accepted_logins(), f"{slurm.host.home}/{slurm.folder}"
    since = time.monotonic()
    slurm.interval = 3
    jobs = []
    for number in range(200):
        slurm.key = f"Element_{number}"
        command = f"echo $SSHJOB_ID; [ {number} -ne 7 ] || exit 9\n[ {number} -ne 8 ] || sleep 100"
        jobs.append(slurm.submit(command, batch=200).job)
    outcomes = all_end(slurm, [job for number, job in enumerate(jobs) if number != 8])
    seconds = time.monotonic() - since
    calls = [call.split()[0] for call in slurm.host.calls()]
    print(f"{seconds:.0f} s, sbatch {calls.count('sbatch')}, squeue {calls.count('squeue')}, of all {len(calls)}")
    assert calls.count("sbatch") == 1
    assert calls.count("squeue") <= seconds / 3 + 1
    assert slurm.host.accepted_logins() == before + 1
    assert [(outcome.state, outcome.exit_code) for outcome in outcomes if not outcome.succeeded] == [("failed", 9)]
    logs = slurm.host.run("sh", "-c", f"cat {base}/jobs/*/1/log").split()
    assert sorted(logs) == sorted(job.id for job in jobs)
    # one is ended without the others
    assert slurm.monitor.cancel(jobs[8], 2).state == "cancelled"
    # taken over each by itself
    slurm.key = "Element_9"
    slurm.control.collect(jobs[9])
    assert slurm.submit("true", batch=200).job.attempt == 2


def test_an_array_whose_answer_is_lost_is_found_again_with_one_question(slurm):
    with faulty(slurm.host, "sbatch", KILL_AFTER):
        jobs = slurm.submit_many(20, "echo $SSHJOB_ID")
        processes.wait_until(lambda: slurm.host.run("sh", "-c", "ls /var/tmp/hit 2>/dev/null || true"), "the fault")
    slurm.host.forget_calls()
    assert slurm.submit_many(20, "echo $SSHJOB_ID") == jobs
    assert all(outcome.succeeded for outcome in all_end(slurm, jobs))
    calls = slurm.host.calls()
    assert not [call for call in calls if call.startswith("sbatch")]
    assert len([call for call in calls if "--name=" in call and call.startswith("squeue")]) <= 2
    logs = slurm.host.run("sh", "-c", f"cat {slurm.folder}/jobs/*/1/log").split()
    assert sorted(logs) == sorted(job.id for job in jobs)


def test_an_array_that_slurm_does_not_take_is_submitted_one_by_one(slurm):
    with faulty(slurm.host, "sbatch", REFUSE_ARRAYS):
        jobs = slurm.submit_many(4, "true")
        assert all(outcome.succeeded for outcome in all_end(slurm, jobs))


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
    assert re.search(r"^note  slurm +slurm-wlm \S+ answers", said, re.MULTILINE)
    assert "\n    launcher = slurm\n" in said
