"""What every launcher promises, on its real engine: submission and end. See docs/launchers.rst."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemotePythonTask
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.inputs import CachedInput, HostInput
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.targets.content import Content
from luigi_sshjob.targets.host_cache import HostCache
from luigi_sshjob.targets.tree import members_of

from support import processes
from support.engines import KILL_AFTER, KILL_BEFORE, faulty

pytestmark = pytest.mark.needs_docker


EXAMPLES = Path(__file__).parents[3] / "examples"


def hit(bench):
    """Wait until the fault was met."""
    processes.wait_until(lambda: bench.host.run("sh", "-c", "ls /var/tmp/hit 2>/dev/null || true"), "the fault")


def test_a_job_runs_with_its_log_its_environment_and_its_record(bench):
    outcome, log = bench.run("set -e\necho begin\nfalse\necho never")
    assert (outcome.state, outcome.exit_code, log) == ("failed", 1, b"begin\n")
    outcome, log = bench.run('echo "$FRUIT"', environment={"FRUIT": "apples & 'pears'"})
    assert (outcome.succeeded, log) == (True, b"apples & 'pears'\n")


def test_inputs_and_a_project_reach_the_job(bench, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("from here\n")
    content = Content(str(tmp_path / "tree"))
    project = Content(str(tmp_path / "tree"), members_of(str(tmp_path / "tree")))
    for each in (content, project):
        HostCache(bench.client.connection, bench.base).add(each)
    inputs = [
        CachedInput("SSHJOB_INPUT_0", content.entry, "tree"),
        HostInput("SSHJOB_INPUT_1", "/etc/hostname"),
    ]
    command = 'cat "$SSHJOB_INPUT_0/file"; echo "$SSHJOB_INPUT_1"; echo changed >file; cat "$SSHJOB_PROJECT/file"'
    outcome, log = bench.run(command, inputs=inputs, project=project.entry, working_directory="")
    assert (outcome.succeeded, log) == (True, b"from here\n/etc/hostname\nchanged\n")


def test_a_setup_comes_before_the_command_and_its_failure_is_that_of_the_job(bench):
    setup = Setup('export FRUIT="$FRUIT pears"\ncd /usr', login_shell=True)
    outcome, log = bench.run('#!/bin/sh -e\necho "$FRUIT $PWD"', setup=setup, environment={"FRUIT": "apples &"})
    assert (outcome.succeeded, log.endswith(b"apples & pears /usr\n")) == (True, True)
    outcome, log = bench.run("echo never", setup=Setup("echo 'no licence' >&2\nexit 0"))
    assert (outcome.state, log) == ("failed", b"no licence\n")
    assert outcome.reason.startswith("the setup did not reach the command: its exit code is 0")


class Squares(RemotePythonTask):
    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    launcher = luigi.Parameter()
    setup = "export FRUIT=apples"
    numbers = luigi.ListParameter(default=[2, 3])

    def work(self):
        return [__import__("os").environ["FRUIT"], *(number**2 for number in self.numbers)]


def test_a_python_function_is_a_job(bench):
    task = Squares(host=bench.host.alias, base_dir=bench.base, launcher=bench.launcher)
    task.run()
    assert task.result() == ["apples", 4, 9]


@pytest.mark.parametrize("code", [3, 99, 100, 143, 255])
def test_the_exit_code_of_the_command_is_the_outcome_and_it_runs_once(bench, code):
    base = f"{bench.host.home}/{bench.folder}"
    job = bench.submit(f"echo run >>{base}/ledger; exit {code}").job
    outcome = bench.end(job)
    assert (outcome.exit_code, outcome.state in ("failed", "killed")) == (code, True)
    assert bench.host.run("cat", f"{base}/ledger") == "run\n"


@pytest.mark.parametrize("fault", [KILL_BEFORE, KILL_AFTER], ids=["before", "after"])
def test_a_submission_whose_answer_is_lost_is_made_once(scheduled, fault):
    """The remote shell dies before the scheduler has the job, or after."""
    base = f"{scheduled.host.home}/{scheduled.folder}"
    with faulty(scheduled.host, scheduled.engine.submit, fault):
        job = scheduled.submit(f"echo run >>{base}/ledger").job
        hit(scheduled)
    assert scheduled.end(job).succeeded
    assert len(scheduled.known(job)) <= 1
    assert scheduled.host.run("cat", f"{base}/ledger") == "run\n"


def test_a_client_that_comes_back_finds_its_job(bench):
    base = f"{bench.host.home}/{bench.folder}"
    job = bench.running(f"echo run >>{base}/ledger; {bench.until_released()}")
    again = bench.submit(f"echo run >>{base}/ledger; {bench.until_released()}")
    assert (again.attached, again.job) == (True, job)
    bench.release()
    assert bench.end(job).succeeded
    assert bench.host.run("cat", f"{base}/ledger") == "run\n"


def test_a_job_waits_runs_and_ends_and_says_so(scheduled):
    job = scheduled.submit(scheduled.until_released(), options=scheduled.engine.hold).job
    scheduled.until_state(job, State.QUEUED)
    scheduled.release_job(job)
    scheduled.until_state(job, State.RUNNING)
    assert scheduled.state(job).reason.startswith(f"{scheduled.engine.scheduler.title} job {scheduled.number(job)}")
    assert not [seen for seen in scheduled.observed[job] if seen.state in (State.ELSEWHERE, State.LOST)]
    assert not [reason for reason in scheduled.reasons(job) if "requeued" in reason]
    scheduled.release()
    assert scheduled.end(job).succeeded


def test_a_refusal_that_is_final_ends_the_job_with_its_words(scheduled):
    outcome = scheduled.end(scheduled.submit("true", options=scheduled.engine.final).job)
    assert (outcome.state, outcome.scheduler) == ("failed", "REFUSED")
    assert outcome.reason.startswith(f"{scheduled.engine.scheduler.title} refused the job: ")
    assert len(scheduled.calls(scheduled.engine.submit)) == 1


def test_any_other_refusal_is_waited_for_and_shown(scheduled):
    engine = scheduled.engine
    with faulty(scheduled.host, engine.submit, f"echo {shlex.quote(engine.refusal)} >&2; exit 1"):
        job = scheduled.submit("true").job
        scheduled.until(job, engine.refusal)
        assert scheduled.state(job).state is State.CLAIMED
    assert scheduled.end(job).succeeded


def test_an_unknown_refusal_is_not_final(scheduled):
    with faulty(scheduled.host, scheduled.engine.submit, "echo 'flux capacitor: out of gigawatts'; exit 7"):
        job = scheduled.submit("true").job
        scheduled.until(job, "out of gigawatts")
    assert scheduled.end(job).succeeded


def test_an_id_counts_whatever_the_exit_status(scheduled):
    base = f"{scheduled.host.home}/{scheduled.folder}"
    with faulty(scheduled.host, scheduled.engine.submit, '"$real" "$@"; exit 1'):
        job = scheduled.submit(f"echo run >>{base}/ledger").job
        assert scheduled.end(job).succeeded
    assert scheduled.host.run("cat", f"{base}/ledger") == "run\n"
    assert len(scheduled.known(job)) <= 1


def test_a_path_that_no_scheduler_accepts_is_refused(scheduled):
    scheduled.base += "/two\nlines"
    with pytest.raises(RemoteCommandFailed, match="the path of the job directory has a line break"):
        scheduled.submit("true")
    assert not scheduled.calls(scheduled.engine.submit)


def test_a_queued_job_that_is_cancelled_never_begins_and_leaves_the_queue(scheduled):
    job = scheduled.submit("touch never", options=scheduled.engine.hold).job
    scheduled.until_state(job, State.QUEUED)
    outcome = scheduled.monitor.cancel(job, 2)
    assert (outcome.state, "before it was started" in outcome.reason) == ("cancelled", True)
    processes.wait_until(lambda: scheduled.number(job) not in scheduled.alive(), "the queue without it", 30)


def test_a_running_job_is_cancelled_with_its_grace(bench):
    job = bench.running("trap 'echo told; sleep 1.5; echo done; exit' TERM\necho begun\nwhile :; do sleep 0.1; done")
    processes.wait_until(lambda: b"begun" in bench.log(job), "the command")
    outcome = bench.monitor.cancel(job, 4)
    assert (outcome.state, outcome.reason.startswith("by ")) == ("cancelled", True)
    assert bench.client.status(job, 0).log.endswith(b"told\ndone\n")


def test_a_time_limit_is_enforced_to_the_second(bench):
    job = bench.submit("sleep 60", time_limit=2).job
    outcome = bench.end(job)
    assert (outcome.state, outcome.scheduler, "limit was about to expire" in outcome.reason) == ("timed_out", "", False)


def test_a_job_that_writes_nothing_for_too_long_is_ended(bench):
    outcome = bench.end(bench.submit("sleep 60", limits=Limits(idle=2)).job)
    assert (outcome.state, outcome.scheduler, "(idle_limit)" in outcome.reason) == ("timed_out", "", True)


@pytest.mark.parametrize("time_limit", [5, 0], ids=["the task's limit", "a cancel by the scheduler"])
def test_a_job_is_warned_before_its_end(bench, time_limit):
    if not time_limit and not bench.engine:
        pytest.skip("there is no scheduler")
    command = "trap 'echo warned; exit 3' USR1\ntrap '' TERM\necho begun\nwhile :; do sleep 0.1; done"
    limits = Limits(warning_signal="USR1", warning=3)
    # the warning gets half of that; the Slurm of the tests ends all after three seconds
    job = bench.running(command, time_limit=time_limit, kill_grace=4, limits=limits)
    if not time_limit:
        processes.wait_until(lambda: b"begun" in bench.log(job), "the command")
        bench.cancel_by_hand(bench.number(job))
    outcome = bench.end(job)
    assert bench.log(job) == b"begun\nwarned\n"
    # Slurm also sends TERM to time(1), which knows the exit code
    assert outcome.exit_code == (3 if time_limit or bench.launcher != "slurm" else 143)


def test_a_job_whose_directory_was_deleted_is_not_started_again_while_it_runs(bench):
    job = bench.running()
    number = bench.number(job) if bench.engine else ""
    bench.host.run("rm", "-rf", job.directory)
    with pytest.raises(RemoteCommandFailed, match=r"still (be scheduled|running): "):
        bench.submit("true", watch=False)
    if bench.engine:
        bench.cancel_by_hand(number)
        processes.wait_until(lambda: number not in bench.alive(), "its end", 40)
    else:
        bench.monitor.cancel(job, 1)


def test_jobs_cost_one_login_and_no_more_listings_than_the_interval_allows(bench):
    before, since = bench.host.accepted_logins(), time.monotonic()
    jobs = []
    for number in range(5):
        bench.key = f"Job_{number}"
        jobs.append(bench.running("sleep 3"))
    assert all(outcome.succeeded for outcome in bench.ends(jobs))
    seconds = time.monotonic() - since
    assert bench.host.accepted_logins() - before <= 1
    if bench.engine:
        assert len(bench.listings()) <= seconds + 2


def test_the_example_runs_unchanged_with_one_setting(bench, luigi_cfg, tmp_path):
    host = bench.host
    settings = f"[sshjob]\nssh_config={host.ssh_config}\nruntime_dir={luigi_cfg.runtime_dir}\n"
    luigi_cfg.path.write_text(f"{settings}launcher={bench.launcher}\nscheduler_interval=1\n")
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
    if bench.engine:
        assert nodes <= {"c1", "c2"}
        # the eight samples are one array, and the merging another job
        assert len(bench.calls(bench.engine.submit)) == 2
        assert host.accepted_logins() == before + 1
    else:
        assert len(nodes) == 1
    host.run("rm", "-rf", folder, ".luigi-sshjob")
