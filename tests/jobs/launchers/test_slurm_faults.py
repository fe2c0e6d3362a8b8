"""Submissions to a real Slurm: lost responses, outages and job arrays."""

from __future__ import annotations

import threading
import time

import pytest

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.model import State

from support import processes
from support.slurm_jobs import KILL_AFTER, REFUSE_ARRAYS, all_end, ends, faulty, running, state

# one cluster for all of them
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("slurm")]


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_submission_whose_response_is_lost_is_found_and_not_repeated(slurm, when):
    """The remote shell dies after Slurm has accepted the job, or before, so there is no response."""
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


def test_a_job_that_was_submitted_twice_runs_once(slurm):
    job, number = running(slurm, f"echo run; {slurm.until_released()}")
    library = slurm.host.run("sh", "-c", f"ls -d {slurm.host.home}/{slurm.folder}/lib/[0-9a-f]*").strip()
    words = ("--wait", "--output=/dev/null", f"{library}/slurm_entry.sh", library, "0022", job.directory)
    slurm.host.run("/usr/bin/sbatch", *words)
    slurm.release()
    outcome, _ = ends(slurm, job)
    assert (outcome.succeeded, slurm.number(job)) == (True, number)
    assert slurm.host.run("cat", f"{job.directory}/log") == "run\n"


def test_a_job_whose_directory_was_deleted_is_not_started_again_while_it_runs(slurm):
    job, number = running(slurm)
    slurm.host.run("rm", "-rf", job.directory)
    with pytest.raises(
        RemoteCommandFailed, match=rf"directory was deleted may still be scheduled: .* \(Slurm job {number}\)"
    ):
        slurm.submit("true")
    slurm.host.slurm("scancel", number)

    def gone() -> bool:
        return not slurm.host.slurm("squeue", "--noheader", f"--jobs={number}", "--states=RUNNING,COMPLETING")

    processes.wait_until(gone, "its end")
    assert slurm.submit("true").job.attempt == 1


def test_outcomes_arrive_and_submissions_wait_while_slurm_does_not_respond(slurm):
    host = slurm.host
    job, _ = running(slurm, slurm.until_released("echo let go"))
    host.run("pkill", "-x", "slurmctld", user="root")
    processes.wait_until(lambda: "slurmctld" not in host.run("ps", "-A", "-o", "comm", user="root"), "its end")
    told = []
    waiting = threading.Thread(target=lambda: slurm.monitor.wait(job, told.append))
    waiting.start()
    slurm.key = "Late"
    try:
        late = slurm.submit("echo late").job
        processes.wait_until(lambda: any("Slurm does not respond: " in seen.reason for seen in told), "the silence", 60)
        assert told[-1].state is State.RUNNING
        host.forget_calls()
        slurm.release()
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


def test_a_slurm_that_responds_with_errors_is_polled_less_often(slurm):
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
        assert told[-1].reason.endswith("Slurm does not respond: slurm_load_jobs error: Socket timed out")
        assert told[-1].state is State.RUNNING
    assert slurm.monitor.cancel(job, 2).state == "cancelled"
    watching.join(20)
    assert told[-1].outcome.state == "cancelled"


def test_two_hundred_jobs_as_one_array_cost_one_login_and_few_requests(slurm):
    """Each has its own record, log and outcome."""
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
    # each is collected separately
    slurm.key = "Element_9"
    slurm.client.collect(jobs[9])
    assert slurm.submit("true", batch=200).job.attempt == 2


def test_an_array_whose_response_is_lost_is_found_with_one_request(slurm):
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


def test_an_array_that_slurm_rejects_is_submitted_one_by_one(slurm):
    with faulty(slurm.host, "sbatch", REFUSE_ARRAYS):
        jobs = slurm.submit_many(4, "true")
        assert all(outcome.succeeded for outcome in all_end(slurm, jobs))
