"""A supervisor that is stopped or hangs, and processes that cannot be killed."""

from __future__ import annotations

import pytest

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.spec import Output

from support import processes


def stop_supervisor(bench) -> None:
    bench.wait_until_running("sleep 571")
    bench.host.run("kill", "-STOP", str(bench.supervisor()))


def test_a_time_limit_holds_while_the_supervisor_is_stopped(bench):
    job = bench.submit("sleep 571", time_limit=4, kill_grace=1).job
    stop_supervisor(bench)
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "timed_out"
    assert not bench.running("sleep 571")


def test_a_stopped_supervisor_can_be_cancelled(bench):
    job = bench.submit("sleep 571").job
    stop_supervisor(bench)
    outcome = bench.monitor.cancel(job, 1)
    assert outcome.state == "cancelled"
    # it went on, and ended the job itself
    assert "did not react" not in outcome.reason
    assert not bench.running("sleep 571")


@pytest.mark.needs_docker
def test_a_time_limit_holds_while_the_supervisor_does_not_react(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    job = bench.submit("sleep 571", time_limit=6, kill_grace=0).job
    bench.wait_until_running("sleep 571")
    with bench.host.strace(bench.supervisor(), "wait4:delay_exit=300000000"):
        processes.wait_until(lambda: not bench.running("sleep 571"), "the end of the command", 60)
        assert bench.client.status(job).state is State.RUNNING
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.signal) == ("timed_out", "TERM")


@pytest.mark.needs_docker
def test_a_job_whose_supervisor_does_not_react_is_ended_all_the_same(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    job = bench.submit("sleep 571").job
    bench.wait_until_running("sleep 571")
    with bench.host.strace(bench.supervisor(), "wait4:delay_exit=300000000"):
        outcome = bench.monitor.cancel(job, 1)
    assert outcome.state == "cancelled"
    assert "its supervisor did not react" in outcome.reason
    assert not bench.running("sleep 571")


@pytest.mark.needs_docker
def test_what_survives_a_kill_is_named(special_bench):
    bench = special_bench()
    # it becomes root, as sudo does
    bench.host.run("sh", "-c", "cp /usr/bin/python3 /usr/bin/rootly && chmod 4755 /usr/bin/rootly", user="root")
    command = "rootly -c 'import os, time; os.setuid(0); time.sleep(601)'"

    def wait_until_root() -> None:
        # by its real account
        found = ("pgrep", "-U", "root", "rootly")
        processes.wait_until(lambda: bench.host.run(*found, check=False) != "", "the process of root")

    job = bench.submit(command).job
    wait_until_root()
    try:
        outcome = bench.monitor.cancel(job, 0)
        assert outcome.state == "cancelled"
        assert "processes of the job could not be killed: " in outcome.reason
        assert "(rootly of root)" in outcome.reason
        bench.key = "Second"
        bench.host.run("pkill", "rootly", user="root")
        job = bench.submit(command).job
        wait_until_root()
        bench.host.run("kill", "-9", str(bench.supervisor()))
        processes.wait_until(lambda: bench.client.status(job).state is State.UNSUPERVISED, "the supervisor's end")
        with pytest.raises(JobError, match=r"could not be killed: \d+ \(rootly of root\)"):
            bench.monitor.cancel(job, 0)
    finally:
        bench.host.run("pkill", "rootly", user="root")


@pytest.mark.needs_docker
def test_a_cancel_does_not_kill_a_supervisor_that_is_busy_with_the_outputs(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    outputs = (Output("SSHJOB_OUTPUT", "~/made"),)
    job = bench.submit(f'touch "$SSHJOB_OUTPUT"; {bench.until_released()}', outputs=outputs).job
    bench.wait_until_running("/command")
    with bench.host.strace(bench.supervisor(), "rename,renameat,renameat2:delay_enter=9000000"):
        bench.release()
        bench.wait_until_running("mv -f")
        assert bench.monitor.cancel(job, 0).succeeded
    assert bench.host.run("ls", "made") == "made\n"


def test_a_stopped_command_can_react_to_the_end(bench):
    job = bench.submit("trap 'echo bye; exit' TERM; sleep 573 & wait").job
    bench.wait_until_running("sleep 573")
    stopped = [pid for pid, args in bench.host.processes() if args.endswith("/command")]
    bench.host.run("kill", "-STOP", *map(str, stopped))
    assert bench.monitor.cancel(job, 20).state == "cancelled"
    assert bench.client.status(job, 0).log == b"bye\n"
