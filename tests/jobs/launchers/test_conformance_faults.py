"""What every launcher promises when its scheduler is slow, silent, wrong or away, on the real engine."""

from __future__ import annotations

import shlex
import time

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.jobs.model import State
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.engines import KILL_AFTER, faulty

pytestmark = pytest.mark.needs_docker

HANG = "touch /var/tmp/hit; exec sleep 1000"


def hit(bench):
    """Wait until the fault was met."""
    processes.wait_until(lambda: bench.host.run("sh", "-c", "ls /var/tmp/hit 2>/dev/null || true"), "the fault", 40)


def only_queries(bench, script):
    """A script that replaces the listing program when it is asked for ids."""
    return f'case "$*" in {bench.engine.is_query}) {script} ;; esac\nexec "$real" "$@"'


def only_listings(bench, script):
    return f'case "$*" in {bench.engine.is_query}) ;; *) {script} ;; esac\nexec "$real" "$@"'


def test_an_empty_listing_with_status_0_does_not_end_a_running_job(scheduled):
    job = scheduled.running(scheduled.until_released("echo let go"))
    with faulty(scheduled.host, scheduled.engine.listing, only_listings(scheduled, "exit 0")):
        scheduled.host.forget_calls()
        time.sleep(20)
        assert scheduled.state(job).state is State.RUNNING
        assert scheduled.outcomes == {}
    assert not scheduled.calls(scheduled.engine.cancel)
    scheduled.release()
    assert scheduled.end(job).succeeded
    assert scheduled.log(job) == b"let go\n"


@pytest.mark.parametrize("script", ["exit 0", "echo broken >&2; exit 1", HANG], ids=["empty", "failing", "hanging"])
def test_a_scheduler_that_says_nothing_does_not_end_a_running_job(scheduled, script):
    """Neither to the listing nor to a question for the very id, and its accounting is gone, too."""
    job = scheduled.running(scheduled.until_released("echo let go"))
    history = scheduled.engine.history
    silent = "exit 1" if script == "exit 0" else script
    # an answer without the job is no denial: it is one with an error only
    with (
        faulty(scheduled.host, scheduled.engine.listing, only_queries(scheduled, silent) + "\n" + script),
        faulty(scheduled.host, history, script),
    ):
        time.sleep(20)
        assert scheduled.outcomes == {}
        assert scheduled.state(job).state in (State.RUNNING, State.UNKNOWN)
        assert not scheduled.calls(scheduled.engine.cancel)
        # its record needs no scheduler
        scheduled.release()
        processes.wait_until(lambda: job in scheduled.outcomes, "its end", 10)
    assert scheduled.end(job).succeeded


def test_a_hanging_accounting_delays_nobody(scheduled):
    """A job that has ended without a record is found out all the same, and another one ends meanwhile."""
    with faulty(scheduled.host, scheduled.engine.history, HANG):
        job = scheduled.running()
        kill_supervisor(scheduled, job)
        scheduled.key = "Other"
        assert scheduled.end(scheduled.submit("true").job).succeeded
        assert scheduled.end(job).state == "lost"


def test_a_job_of_a_scheduler_that_hangs_can_be_given_up(scheduled, capsys):
    """That is the way out of a state in which nothing is known. The job was not ended, so its files are kept."""
    job = scheduled.running(scheduled.until_released())
    with faulty(scheduled.host, scheduled.engine.listing, HANG):
        hit(scheduled)
        # a new session of the host has no older answers
        close_shells()
        assert scheduled.client.status(job).state is State.UNKNOWN
        assert main(["forget", "--lost", "--base-dir", scheduled.base, scheduled.host.alias, job.id]) == 0
    assert "was given up as lost" in capsys.readouterr().out
    assert scheduled.end(job).state == "lost"
    scheduled.release()


def test_a_job_that_is_cancelled_while_it_is_submitted_does_not_stay_in_the_queue(scheduled):
    slow = 'touch /var/tmp/hit; sleep 4; exec "$real" "$@"'
    with faulty(scheduled.host, scheduled.engine.submit, slow):
        job = scheduled.submit("touch never").job
        hit(scheduled)
        assert scheduled.monitor.cancel(job, 0).state == "cancelled"
    processes.wait_until(lambda: not scheduled.alive(), "an empty queue", 20)


def test_cancelling_a_job_that_has_left_the_queue_delays_nobody(scheduled):
    held = []
    for number in range(3):
        scheduled.key = f"Held_{number}"
        held.append(scheduled.submit("touch never", options=scheduled.engine.hold).job)
    numbers = [scheduled.number(job) for job in held]
    scheduled.cancel_by_hand(numbers[1])
    begin = time.monotonic()
    assert cancel_jobs(scheduled.client.connection, [(job, 0) for job in held], begin + 300) == []
    assert time.monotonic() - begin < 60
    states = [scheduled.client.status(job).outcome.state for job in held]
    assert (states[0], states[2]) == ("cancelled", "cancelled")
    assert states[1] in ("cancelled", "killed")
    processes.wait_until(lambda: not scheduled.alive(), "an empty queue", 20)


def test_a_hanging_submission_blocks_only_itself(scheduled):
    running = scheduled.running(scheduled.until_released())
    with faulty(scheduled.host, scheduled.engine.submit, HANG):
        scheduled.key = "Stuck"
        job = scheduled.submit("true").job
        hit(scheduled)
        scheduled.release()
        assert scheduled.end(running, 15).succeeded
        assert scheduled.state(job).state is State.CLAIMED
        assert scheduled.monitor.cancel(job, 0).state == "cancelled"


def kill_supervisor(bench, job):
    identity = dict(line.split(": ", 1) for line in bench.host.run("cat", f"{job.directory}/identity").splitlines())
    bench.host.kill_on_node(identity["machine"], identity["pid"])


def test_a_supervisor_that_was_killed_is_lost_and_the_scheduler_has_no_job_of_it(scheduled):
    job = scheduled.running()
    number = scheduled.number(job)
    kill_supervisor(scheduled, job)
    outcome = scheduled.end(job)
    assert outcome.state in ("lost", "killed")
    assert scheduled.engine.scheduler.title in outcome.reason
    assert number not in scheduled.alive()


def test_a_base_directory_that_no_node_has_is_named_as_the_cause(scheduled):
    """The job ends without a record, or waits for a person."""
    folder = "/var/tmp/only-here"
    scheduled.base = folder
    job = scheduled.submit("true").job

    def named() -> bool:
        seen = [*scheduled.reasons(job), *(outcome.reason for outcome in scheduled.outcomes.values())]
        return any(folder in reason or "does not have the base directory" in reason for reason in seen)

    try:
        processes.wait_until(named, "the cause", 60)
        if job not in scheduled.outcomes:
            assert scheduled.state(job).hopeless
            assert scheduled.monitor.cancel(job, 0).state == "cancelled"
    finally:
        # the session that watches may still write a file
        removal = f"rm -rf {folder} 2>/dev/null; [ -e {folder} ] || echo gone"
        processes.wait_until(lambda: scheduled.host.run("sh", "-c", removal) == "gone\n", "the removal")


def test_a_job_that_was_cancelled_by_hand_is_cancelled_or_killed_and_says_so(scheduled):
    job = scheduled.running()
    scheduled.cancel_by_hand(scheduled.number(job))
    outcome = scheduled.end(job)
    assert outcome.state in ("cancelled", "killed")
    assert not [seen for seen in scheduled.observed[job] if seen.state is State.LOST]


def test_outcomes_arrive_and_submissions_wait_while_the_scheduler_is_away(scheduled):
    engine, host = scheduled.engine, scheduled.host
    job = scheduled.running(scheduled.until_released("echo let go"))
    engine.stop(host)
    try:
        scheduled.key = "Late"
        late = scheduled.submit("echo late").job
        scheduled.until(job, f"{engine.scheduler.title} does not respond: ", 90)
        assert scheduled.state(job).state is State.RUNNING
        scheduled.release()
        processes.wait_until(lambda: job in scheduled.outcomes, "the end of the job that runs", 20)
        assert scheduled.log(job) == b"let go\n"
        assert late not in scheduled.outcomes
    finally:
        engine.start(host)
    assert scheduled.end(late, 120).succeeded
    assert len(scheduled.known(late)) <= 1
    assert scheduled.end(job).succeeded


def test_a_scheduler_that_answers_with_errors_is_asked_less_often(scheduled):
    job = scheduled.running(scheduled.until_released())
    program = scheduled.engine.listing
    with faulty(scheduled.host, program, f"echo {program} >>/var/tmp/calls; echo out of order >&2; exit 1"):
        scheduled.host.forget_calls()
        processes.wait_until(lambda: len(scheduled.calls(program)) >= 3, "three questions")
        since = time.monotonic()
        processes.wait_until(lambda: len(scheduled.calls(program)) >= 4, "one more")
        assert 3 < time.monotonic() - since < 14
        assert scheduled.state(job).reason.endswith("does not respond: out of order")
        assert scheduled.state(job).state is State.RUNNING
    scheduled.release()
    assert scheduled.end(job).succeeded


def test_variables_functions_and_aliases_of_the_account_change_nothing(scheduled):
    engine, host = scheduled.engine, scheduled.host
    polluted = {
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "FAILED",
        "SQUEUE_PARTITION": "no",
        "SACCT_FORMAT": "User",
        "SCANCEL_STATE": "PENDING",
        "SCANCEL_ACCOUNT": "no",
        "SBATCH_WAIT": "1",
        "SBATCH_ARRAY_INX": "0-3",
        "SLURM_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": "7",
        "SLURM_ARRAY_JOB_ID": "9",
        "SGE_TASK_ID": "7",
        "JOB_ID": "1",
        "POSIXLY_CORRECT": "1",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in polluted.items()]
    lines += [f"{program}() {{ echo function; }}; export -f {program}" for program in (engine.submit, engine.listing)]
    host.run("sh", "-c", "cp ~/.bashrc ~/.bashrc.kept; cat - ~/.bashrc.kept >~/.bashrc", input="\n".join(lines) + "\n")
    try:
        job = scheduled.running(f"echo ${{SSHJOB_ID}}; {scheduled.until_released()}")
        scheduled.until(job, f"{engine.scheduler.title} job")
        scheduled.release()
        assert scheduled.end(job).succeeded
        job = scheduled.running()
        assert scheduled.monitor.cancel(job, 2).state == "cancelled"
    finally:
        host.run("sh", "-c", "mv ~/.bashrc.kept ~/.bashrc")


def test_many_jobs_are_few_submissions_and_each_ends_by_itself(bench):
    before, count = bench.host.accepted_logins(), 200 if bench.engine else 50
    since = time.monotonic()
    jobs = []
    for number in range(count):
        bench.key = f"Element_{number}"
        command = f"echo $SSHJOB_ID; [ {number} -ne 7 ] || exit 9\n[ {number} -ne 8 ] || sleep 100"
        jobs.append(bench.submit(command, batch=count).job)
    outcomes = bench.ends([job for number, job in enumerate(jobs) if number != 8], 200)
    seconds = time.monotonic() - since
    assert bench.host.accepted_logins() - before <= 1
    assert [(outcome.state, outcome.exit_code) for outcome in outcomes if not outcome.succeeded] == [("failed", 9)]
    logs = bench.host.run("sh", "-c", f"cat {bench.folder}/jobs/*/1/log").split()
    assert sorted(logs) == sorted(job.id for job in jobs)
    if bench.engine:
        assert len(bench.calls(bench.engine.submit)) == 1
        # it is also asked for ids
        assert len(bench.listings()) <= 2 * seconds + 2
    # one is ended without the others
    assert bench.monitor.cancel(jobs[8], 2).state == "cancelled"


def test_an_array_whose_answer_is_lost_is_found_as_one(scheduled):
    with faulty(scheduled.host, scheduled.engine.submit, KILL_AFTER):
        jobs = scheduled.submit_many(20, "echo $SSHJOB_ID")
        hit(scheduled)
    scheduled.host.forget_calls()
    assert all(outcome.succeeded for outcome in scheduled.ends(jobs))
    assert not scheduled.calls(scheduled.engine.submit)
    logs = scheduled.host.run("sh", "-c", f"cat {scheduled.folder}/jobs/*/1/log").split()
    assert sorted(logs) == sorted(job.id for job in jobs)


def test_an_array_that_is_refused_is_halved_and_says_so(scheduled):
    """The scheduler accepts arrays of three at most."""
    engine = scheduled.engine
    refused = f"echo {shlex.quote(engine.refusal)} >&2; exit 1"
    limited = f'{engine.count_jobs}\n[ $count -le 3 ] || {{ {refused}; }}\nexec "$real" "$@"'
    with faulty(scheduled.host, engine.submit, limited):
        jobs = scheduled.submit_many(8, "echo $SSHJOB_ID")
        assert all(outcome.succeeded for outcome in scheduled.ends(jobs, 120))
    assert any("submitting at most" in reason or "one by one" in reason for reason in scheduled.reasons(jobs[0]))
