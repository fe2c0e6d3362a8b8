"""Cancellation ends every process of a job."""

from __future__ import annotations

import re
import threading
import time

import pytest

from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.cancel import cancel_jobs

from support import processes

STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; sleep 311' &
(sh -c 'sleep 312' & ) &
env -i setsid sleep 315 &
echo $! >"$SSHJOB_DIR/bare"
sleep 313 &
echo up
sleep 314
"""


@pytest.mark.core
def test_cancelling_ends_every_process_of_the_job(bench):
    job = bench.submit(STUBBORN).job
    processes.wait_until(lambda: all(bench.running(f"sleep 31{n}") for n in "1234"), "the job's children")
    # the list of processes goes by their environment, and this one has none
    arguments = f"/proc/{bench.host.run('cat', f'{job.directory}/bare').strip()}/cmdline"
    assert bench.host.run("cat", arguments) == "sleep\000315\0"
    outcome = bench.monitor.cancel(job, grace=1)
    assert "sleep" not in bench.host.run("cat", arguments, check=False)
    assert (outcome.state, outcome.reason[:3]) == ("cancelled", "by ")
    assert not bench.running("sleep 31")


def test_a_job_is_cancelled_before_it_has_started(bench):
    """The cancellation claims the run, so a supervisor that starts late exits at once."""
    job = bench.submit("exit 0").job
    bench.monitor.wait(job, lambda _: None)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm started identity* exit_record exit_code")
    assert bench.monitor.cancel(job, grace=1).state == "cancelled"
    bench.client.perform(job, Action(Act.LAUNCH))
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the late supervisor")
    assert "cancelled" in bench.host.run("cat", f"{job.directory}/exit_record")


def test_an_unsupervised_command_can_be_cancelled(bench):
    job = bench.submit("sleep 331").job
    bench.wait_until_running("sleep 331")
    bench.host.run("kill", "-9", str(bench.supervisor()))
    bench.monitor.cancel(job, grace=1)
    assert not bench.running("sleep 331")


def test_a_cancellation_without_effect_is_repeated(bench):
    """For example because the supervisor was just about to start."""
    job = bench.submit("sleep 362").job
    bench.wait_until_running("sleep 362")
    identity = f"{job.directory}/identity"
    bench.host.run("sed", "-i", "s/^machine: /&not-/", identity)
    heard = threading.Timer(0.5, lambda: bench.host.run("sed", "-i", "s/^machine: not-/machine: /", identity))
    heard.start()
    assert cancel_jobs(bench.client.connection, [(job, 1)], time.monotonic() + 10) == []
    heard.join()
    assert not bench.running("sleep 362")


@pytest.mark.parametrize(
    ("command", "signal", "sent"),
    [("exec sleep 307", "TERM", "TERM"), ("trap '' TERM; sleep 308 & wait", "KILL", "KILL")],
)
def test_the_record_of_a_cancelled_job_says_by_whom_and_by_what_signal(bench, command, signal, sent):
    job = bench.submit(command).job
    bench.wait_until_running("sleep 307" if signal == "TERM" else "sleep 308")
    outcome = bench.monitor.cancel(job, grace=1)
    assert (outcome.state, outcome.signal) == ("cancelled", signal)
    assert re.fullmatch(rf"by \S+@\S+ \(process \d+\); its processes received SIG{sent}", outcome.reason)


def test_a_command_that_ends_itself_on_term_keeps_its_own_exit_code(bench):
    job = bench.submit("trap 'sleep 0.5; exit 3' TERM; echo up; while :; do sleep 0.1; done").job
    bench.wait_for_file(f"{job.directory}/identity")
    processes.wait_until(lambda: bench.client.status(job, 0).log == b"up\n", "the trap")
    outcome = bench.monitor.cancel(job, grace=10)
    assert (outcome.state, outcome.exit_code, outcome.signal) == ("cancelled", 3, "")
