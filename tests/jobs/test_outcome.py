"""Outcomes: exit codes, signals, time limits, outputs and lost jobs."""

from __future__ import annotations

import re
import time

import pytest

from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.spec import Output
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.settings import both_transports


@pytest.mark.core
@pytest.mark.parametrize(
    ("command", "state", "signal", "code"),
    [
        ("kill -9 $$", "killed", "KILL", 137),
        ("exit 137", "failed", "", 137),
        ("kill -TERM $$", "killed", "TERM", 143),
        ("exit 143", "failed", "", 143),
    ],
)
def test_a_signal_is_distinguished_from_an_exit_code(bench, command, state, signal, code):
    outcome, _ = bench.run(command)
    assert (outcome.state, outcome.signal, outcome.exit_code, outcome.reason) == (state, signal, code, "")


def test_other_success_exit_codes_are_success(bench):
    assert bench.run("exit 3", success_exit_codes=(0, 3))[0].succeeded


@pytest.mark.core
def test_the_record_is_whole_and_readable(bench):
    outcome, _ = bench.run(
        "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; head -c 70000000 /dev/zero | tail; exit 4"
    )
    assert outcome.exit_code == 4
    assert outcome.cpu_seconds > 0
    if bench.host.run("sh", "-c", "test -e /usr/bin/time && echo yes || true"):
        # tail keeps what has no line break
        assert 70_000_000 < outcome.peak_memory < 700_000_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", outcome.started)
    assert outcome.ended >= outcome.started
    text = bench.host.run("sh", "-c", f"cat {bench.base}/jobs/Task/1/exit_record")
    assert text.startswith("job: Task/1\noutcome: failed\nexit_code: 4\n")


@pytest.mark.core
def test_outputs_appear_all_or_none_and_replace_what_was_there(bench):
    outputs = (Output("A", "both/a"), Output("B", "both/b"))
    for number, made_b in enumerate(("true", ': >"$B"', ': >"$B"')):
        outcome, _ = bench.run(f'mkdir "$A"; : >"$A/{number}"; {made_b}', outputs=outputs)
        assert outcome.succeeded is (number > 0), outcome
        there = bench.host.run("sh", "-c", "ls -A both both/a 2>/dev/null || true").split()
        assert there == (["both:", "a", "b", "both/a:", str(number)] if number else ["both:"])
    bench.host.run("rm", "-r", "both")


def test_outputs_appear_when_the_command_has_succeeded(bench):
    home = bench.host.home
    outputs = (Output("SSHJOB_OUTPUT_A", "~/made/a b.txt"), Output("SSHJOB_OUTPUT_B", f"{home}/made/b"))
    command = 'echo a >"$SSHJOB_OUTPUT_A"; mkdir "$SSHJOB_OUTPUT_B"; touch "$SSHJOB_OUTPUT_B/in"; ls made; exit '
    outcome, seen = bench.run(command + "1", outputs=outputs)
    assert outcome.exit_code == 1
    assert seen == b""
    assert bench.host.run("ls", "-A", "made") == ""
    outcome, _ = bench.run(command + "0", outputs=outputs)
    assert outcome.succeeded
    assert bench.host.run("sh", "-c", "ls -A made made/b; cat made/a*; rm -r made").split() == [
        *("made:", "a", "b.txt", "b"),
        *("made/b:", "in"),
        "a",
    ]


def test_success_without_the_output_is_no_success(bench):
    outcome, _ = bench.run("true", outputs=(Output("SSHJOB_OUTPUT", "~/never"),))
    assert (outcome.state, outcome.exit_code) == ("failed", 0)
    assert "did not create the output" in outcome.reason


@pytest.mark.core
def test_a_time_limit_is_enforced_by_the_host(bench):
    outcome, _ = bench.run("trap '' TERM; sleep 300 & sleep 301", time_limit=1, kill_grace=1)
    assert outcome.state == "timed_out"
    assert not bench.running("sleep 30")


def test_a_time_limit_is_not_over_because_somebody_ended_a_sleep(bench):
    job = bench.submit(bench.until_released(), time_limit=361).job
    processes.wait_until(lambda: bench.running("sleep 361"), "the deadline's sleep")
    first = [pid for pid, args in bench.host.processes() if args == "sleep 361"]
    bench.host.run("kill", *map(str, first))
    processes.wait_until(lambda: bench.running("sleep 36") or bench.running("sleep 35"), "another sleep")
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded


@both_transports
def test_a_time_limit_is_enforced_without_a_connection(bench):
    job = bench.submit("exec sleep 300", time_limit=2, kill_grace=1).job
    bench.client._connection.transport.close()
    bench.wait_for_file(f"{job.directory}/exit_record")
    assert not bench.running("sleep 300")
    outcome = bench.client.status(job).outcome
    assert (outcome.state, outcome.signal) == ("timed_out", "TERM")


def test_a_record_is_written_even_if_the_job_removed_the_supervisors_files(bench):
    outcome, _ = bench.run('rm -rf "$SSHJOB_DIR/run"; exit 3')
    assert (outcome.state, outcome.exit_code) == ("failed", 3)


def test_a_shutdown_of_the_host_is_no_cancellation(bench):
    job = bench.submit("sleep 371").job
    bench.wait_until_running("sleep 371")
    bench.host.run("kill", "-TERM", str(bench.supervisor()))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, "received SIGTERM" in outcome.reason) == ("killed", True)
    assert not bench.running("sleep 371")


def test_killing_the_timer_kills_the_command(bench):
    """Else the command would go on while its record says that it has ended."""
    job = bench.submit("sleep 395").job
    bench.wait_until_running("sleep 395")
    timer = [pid for pid, args in bench.host.processes() if args.startswith("/usr/bin/time ")]
    if not timer:
        pytest.skip("this host has no time(1)")
    bench.host.run("kill", "-9", *map(str, timer))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.signal) == ("killed", "KILL")
    assert not bench.running("sleep 395")


@pytest.mark.core
def test_a_dead_supervisor_is_lost_only_when_its_command_is_gone_too(bench):
    job = bench.submit("sleep 321").job
    bench.wait_until_running("sleep 321")
    bench.host.run("kill", "-9", str(bench.supervisor()))
    # the kernel takes a moment
    processes.wait_until(lambda: bench.client.status(job).state is not State.RUNNING, "the end of the supervisor")
    assert bench.client.status(job, 0).state is State.UNSUPERVISED
    assert bench.submit("sleep 321").attached
    command = [pid for pid, args in bench.host.processes() if "sleep 321" in args or args.endswith("/command")]
    bench.host.run("kill", "-9", *map(str, command))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    assert "without writing an exit record" in outcome.reason


def test_a_killed_process_group_is_lost_with_a_reason(bench):
    job = bench.submit("sleep 381").job
    bench.wait_until_running("sleep 381")
    everything = [pid for pid, args in bench.host.processes() if job.directory in args or "sleep 381" in args]
    bench.host.run("kill", "-9", *map(str, everything))
    since = time.monotonic()
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("lost", None)
    assert re.fullmatch(r"the supervisor \(process \d+\) died without writing an exit record", outcome.reason)
    assert time.monotonic() - since < 10


def test_another_process_with_the_same_number_is_not_the_supervisor(bench):
    job = bench.submit("sleep 341").job
    bench.wait_until_running("sleep 341")
    own = [pid for pid, args in bench.host.processes() if "supervise" in args or "/command" in args or "341" in args]
    bench.host.run("kill", "-9", *map(str, own))
    # the pid of a process that lives, with the start time of one that does not
    bench.host.run("sed", "-i", "s/^pid: .*/pid: 1/", f"{job.directory}/identity")
    assert bench.monitor.wait(job, lambda _: None).state == "lost"


def test_a_deleted_job_directory_is_made_again_for_the_record(bench):
    there = f"{bench.folder}/there"
    job = bench.submit(f"touch {there}; while [ -e {there} ]; do sleep 0.1; done").job
    bench.wait_for_file(there)
    bench.host.run("rm", "-rf", job.directory)
    assert bench.client.status(job).state is State.RUNNING
    with pytest.raises(RemoteCommandFailed, match="an earlier attempt is still running"):
        bench.submit("true")
    bench.host.run("rm", there)
    assert bench.monitor.wait(job, lambda _: None).succeeded


DELETED = {
    "Contents": "rm -rf {directory}/*",
    # as on NFS, where a file that is open gets another name
    "Open": "cd {directory} && mv log .nfs0123 && rm -rf *",
    "Spec": "rm {directory}/spec",
    "Task": "rm -rf {base}/jobs/Task",
    "Base": "rm -rf {base}",
}


def test_deleting_files_of_a_running_job_never_starts_a_second_run(bench):
    command = f'echo "$SSHJOB_ID" >>ledger-deleted; {bench.until_released()}'
    for bench.key in ("Task", "Base"):
        bench.run("exit 1")
    keys, jobs, base = [], {}, f"{bench.host.home}/{bench.folder}"
    for bench.key in DELETED:
        jobs[bench.key] = bench.submit(command).job
    processes.wait_until(
        lambda: bench.host.run("sh", "-c", "cat ledger-deleted || true").count("\n") == len(jobs), "the commands"
    )
    for key, how in DELETED.items():
        keys.append(key)
        bench.host.run("sh", "-c", how.format(directory=jobs[key].directory, base=base))
        # a session that has not created the base directory
        close_shells()
        for bench.key in keys:
            if bench.key == "Spec" and how != DELETED["Base"]:
                assert bench.submit(command).attached
                continue
            with pytest.raises(RemoteCommandFailed, match="an earlier attempt is still running"):
                bench.submit(command)
    bench.release()
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the jobs")
    ran = bench.host.run("sh", "-c", "cat ledger-deleted; rm ledger-deleted").split()
    assert sorted(ran) == sorted(job.id for job in jobs.values())
    # later runs are possible whatever was deleted
    assert all(bench.run("true")[0].succeeded for bench.key in keys)


def test_a_record_that_a_power_cut_has_emptied_makes_a_lost_job(bench):
    job = bench.submit("true").job
    bench.wait_for_file(f"{job.directory}/exit_record")
    bench.host.run("sh", "-c", f": >{job.directory}/exit_record")
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the supervisor")
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, "without writing an exit record" in outcome.reason) == ("lost", True)
    bench.client.collect(job)
    assert bench.submit("true").job.attempt == 2


@pytest.mark.needs_docker
def test_a_restarted_host_is_the_reason_of_a_loss(bench):
    job = bench.submit("sleep 351").job
    bench.wait_until_running("sleep 351")
    bench.host.restart()
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.reason) == ("lost", "the host was restarted while the job was running")


# the kernel counts what it kills for the whole machine, and records of others' jobs would tell of it
@pytest.mark.alone
@pytest.mark.needs_docker
def test_exhausted_memory_is_the_reason_of_the_end(special_bench):
    bench = special_bench(mem_limit="200m", memswap_limit="200m")
    outcome, _ = bench.run("#!/usr/bin/env python3\nx = bytearray(10**9)")
    assert (outcome.state, outcome.signal) == ("killed", "KILL")
    assert "for lack of memory" in outcome.reason
    # here the supervisor is gone too
    bench.key = "Lost"
    job = bench.submit("python3 -c 'x = bytearray(10**9)'; echo over; sleep 391").job
    bench.wait_until_running("sleep 391")
    everything = [pid for pid, args in bench.host.processes() if job.directory in args or "sleep 391" in args]
    bench.host.run("kill", "-9", *map(str, everything))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    assert (
        "died without writing an exit record; since it started the kernel killed processes for lack of memory"
        in outcome.reason
    )
