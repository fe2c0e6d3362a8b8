"""Submission: any command runs once, with its environment, and nothing is exposed."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import threading

import pytest

from luigi_sshjob.errors import JobError, JobMismatch, RemoteCommandFailed
from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry

from support import processes
from support.settings import both_transports

fork = multiprocessing.get_context("fork")


@pytest.mark.core
@pytest.mark.parametrize(
    ("command", "code", "log"),
    [
        ("echo one\necho two >&2\necho three", 0, b"one\ntwo\nthree\n"),
        ("echo before\nexit 3\necho after", 3, b"before\n"),
        ("set -e\necho before\nfalse\necho after", 1, b"before\n"),
        ("exec echo replaced", 0, b"replaced\n"),
        ("cat <<'END'\n$HOME `x` 'y' \"z\"\nEND", 0, b"$HOME `x` 'y' \"z\"\n"),
        ("echo end # a comment", 0, b"end\n"),
        pytest.param(
            "#!/usr/bin/env python3\nprint('日本', 6 * 7)", 0, "日本 42\n".encode(), marks=pytest.mark.needs("python")
        ),
        ("#! /bin/sh -x\ntrue", 0, b"+ true\n"),
        ("echo 'single' \"double\" \\$x `echo tick`", 0, b"single double $x tick\n"),
        ("printf 'no newline'", 0, b"no newline"),
        ("printf '\\377\\000\\303'; printf '\\274'", 0, b"\xff\x00\xc3\xbc"),
        ("exit 255", 255, b""),
        ("#!/no/such/interpreter\nx", 127, None),
        ("if then", 2, None),
    ],
)
def test_any_command_ends_as_itself_with_all_its_output(bench, command, code, log):
    outcome, seen = bench.run(command, environment={"LC_ALL": "C.UTF-8"})
    assert (outcome.state, outcome.exit_code) == ("succeeded" if code == 0 else "failed", code)
    if log is None:
        assert seen
    else:
        assert seen == log


def test_a_script_of_a_megabyte_runs(bench):
    text = "'\\''\"$x`\\ ü\n" * 75_000
    outcome, seen = bench.run(f": '{text}'\necho done")
    assert (outcome.state, seen) == ("succeeded", b"done\n")


@pytest.mark.core
@both_transports
def test_submitting_again_attaches_and_does_not_launch(bench):
    command = f"echo run >>ledger-again; {bench.until_released()}"
    first = bench.submit(command)
    second = bench.submit(command)
    assert (first.attached, second.attached) == (False, True)
    assert first.job == second.job
    bench.release()
    assert bench.monitor.wait(first.job, lambda _: None).succeeded
    assert bench.host.run("sh", "-c", "cat ledger-again; rm ledger-again") == "run\n"


def submit_after(start, bench, results, command) -> None:
    start.wait()
    results.put(bench.submit(command).job.id)


@pytest.mark.core
@both_transports
def test_workers_that_submit_at_the_same_moment_run_it_once(bench):
    start, results = fork.Event(), fork.Queue()
    command = f"echo run >>ledger-same; {bench.until_released()}"
    workers = [fork.Process(target=submit_after, args=(start, bench, results, command)) for _ in range(8)]
    for worker in workers:
        worker.start()
    start.set()
    assert {results.get(timeout=60) for _ in workers} == {"Task/1"}
    for worker in workers:
        worker.join(30)
    job = bench.submit(command).job
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert bench.host.run("sh", "-c", "cat ledger-same; rm ledger-same") == "run\n"


def test_a_launch_may_be_repeated_and_the_run_is_not(bench):
    job = bench.submit(f"echo run >>ledger-launch; {bench.until_released()}").job
    for _ in range(3):
        bench.client.perform(job, Action(Act.LAUNCH))
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    bench.client.perform(job, Action(Act.LAUNCH))
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of all supervisors")
    assert bench.host.run("sh", "-c", "cat ledger-launch; rm ledger-launch") == "run\n"


def test_an_empty_claim_is_reused(bench):
    bench.host.run("sh", "-c", f"mkdir -p {bench.base}/jobs/Task/1")
    submission = bench.submit("echo mine")
    assert submission.job.attempt == 1
    assert bench.monitor.wait(submission.job, lambda _: None).succeeded


def test_a_damaged_attempt_is_left_alone(bench):
    first = bench.submit("exit 1").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    bench.host.run("sh", "-c", f"cd {first.directory} && rm spec exit_record digests started identity*")
    second = bench.submit("exit 0").job
    assert second.attempt == 2
    assert bench.monitor.wait(second, lambda _: None).succeeded


@pytest.mark.alone
def test_a_supervisor_that_cannot_start_is_reported(bench):
    """Its claim is found, launched again, and given up with what the host said."""
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code && chmod 500 .")
    impatient = JobMonitor(bench.client, Retry(2), poll_interval=0.2, start_timeout=0.5)
    try:
        if bench.host.run("id", "-u").strip() == "0":
            pytest.skip("root may write everywhere")
        with pytest.raises(JobError, match=r"claimed for \d s: .*Permission denied[\s\S]*Next: "):
            impatient.wait(job, lambda _: None)
    finally:
        bench.host.run("chmod", "700", job.directory)


@both_transports
def test_an_uncollected_outcome_is_collected_and_not_run_again(bench):
    first = bench.submit("exit 5").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    again = bench.submit("exit 5")
    assert (again.attached, again.job) == (True, first)
    bench.client.collect(first)
    assert bench.submit("exit 5").job.attempt == 2


def test_a_running_job_with_another_command_is_an_error_that_says_how_to_end_it(bench):
    bench.submit("sleep 300")
    with pytest.raises(JobMismatch, match=r"another command .*[\s\S]*luigi-sshjob kill .* Task/1"):
        bench.submit("sleep 301")
    with pytest.raises(JobMismatch, match="another environment"):
        bench.submit("sleep 300", environment={"A": "b"})


def test_an_old_result_of_another_command_is_ignored(bench):
    first = bench.submit("exit 1").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    outcome, seen = bench.run("echo fixed")
    assert (outcome.succeeded, seen) == (True, b"fixed\n")


SECRET = 'pass\'word $(x) "y" \\ ü\nsecond line'


@pytest.mark.core
@both_transports
def test_the_environment_arrives_and_is_not_visible(bench):
    there = f"{bench.folder}/there"
    until_released = f"touch {there}; while [ -e {there} ]; do sleep 0.1; done"
    command = f'printf "%s" "$PASSWORD" | sha256sum; {until_released}; cat "$SSHJOB_DIR/environment" && echo empty'
    job = bench.submit(command, environment={"PASSWORD": SECRET, "PATH": "/bin:/usr/bin"}).job
    bench.wait_for_file(there)
    everything = bench.host.run("sh", "-c", f"cat {job.directory}/* {job.directory}/*/* 2>/dev/null; ps axww -o args")
    assert "pass'word" not in everything
    assert "second line" not in everything
    seen = bytearray()
    bench.host.run("rm", there)
    assert bench.monitor.wait(job, lambda observation: seen.extend(observation.log)).succeeded
    assert hashlib.sha256(SECRET.encode()).hexdigest() in seen.decode()
    assert seen.decode().split("\n")[1] == "empty"


def test_a_job_has_the_accounts_own_locale(bench):
    assert bench.run('echo "${LC_ALL-none}"')[1] == b"none\n"
    assert bench.run('echo "$LC_ALL"', environment={"LC_ALL": "C.UTF-8"})[1] == b"C.UTF-8\n"


def test_all_files_are_private_whatever_the_umask(bench):
    job = bench.submit("umask; touch mine; stat -c %a mine; rm mine; exit 1").job
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.exit_code == 1
    found = bench.host.run("sh", "-c", f"find {bench.base} -printf '%y %m %p\\n'")
    assert all(line.startswith(("d 700 ", "f 600 ")) for line in found.splitlines()), found
    assert bench.host.run("cat", f"{job.directory}/log") == "0022\n644\n"


@both_transports
def test_neither_secret_nor_command_is_in_a_process_listing_of_either_side(bench):
    """A container's processes are listed on this machine too, so one listing has both sides."""
    secret, marker = "tell-nobody-0815", "the-marker-4711"
    listings = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            listings.extend(process.args for process in processes.running())

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome, seen = bench.run(f': {marker}\necho "$SECRET"; sleep 0.5', environment={"SECRET": secret})
    over.set()
    watcher.join()
    assert (outcome.state, seen.decode()) == ("succeeded", f"{secret}\n")
    assert any("supervise.sh" in args for args in listings)
    assert not [args for args in listings if secret in args or marker in args]


def test_a_missing_working_directory_is_reported(bench):
    outcome, seen = bench.run("pwd", working_directory="/no/such")
    assert outcome.state == "failed"
    assert "directory /no/such" in outcome.reason
    assert b"/no/such" in seen
    assert bench.run("pwd", working_directory="/usr/share")[1] == b"/usr/share\n"
    bench.host.run("mkdir", "-p", "sub/here")
    assert bench.run("pwd", working_directory="sub/here")[1].decode() == f"{bench.host.home}/sub/here\n"
    bench.host.run("rm", "-r", "sub")
    assert bench.run("pwd")[1].decode().strip() == bench.host.home


def test_a_relative_base_directory_is_below_the_home(bench):
    bench.base = bench.folder
    outcome, seen = bench.run('cat "$SSHJOB_DIR/spec"; echo "$A"', working_directory="/", environment={"A": "b"})
    assert outcome.succeeded
    assert seen.endswith(b"\nb\n")
    assert bench.host.run("ls", f"{bench.folder}/jobs") == "Task\n"


def test_a_base_directory_that_cannot_be_made_is_reported_and_nothing_is_left(bench):
    bench.host.run("touch", "in-the-way")
    bench.base = "~/in-the-way/jobs"
    with pytest.raises(RemoteCommandFailed, match=r"mkdir[\s\S]*Next: make ~/'in-the-way/jobs' a directory"):
        bench.submit("true")
    assert bench.host.run("sh", "-c", "ls -d in-the-way*; rm in-the-way") == "in-the-way\n"


@pytest.mark.needs_docker
def test_a_base_directory_of_another_account_is_refused(bench):
    bench.host.run("mkdir", "-p", "-m", "1777", "/var/tmp/shared-jobs", user="root")
    bench.base = "/var/tmp/shared-jobs"
    with pytest.raises(RemoteCommandFailed, match="belongs to another account"):
        bench.submit("true")
    assert bench.host.run("ls", "-A", "/var/tmp/shared-jobs") == ""


@pytest.mark.core
@both_transports
def test_each_of_many_jobs_has_its_own_status_and_log(bench):
    jobs = []
    for number in range(5):
        bench.key = f"Task{number}"
        jobs.append(bench.submit(f"echo {number}; exit {number}").job)
    for job in jobs:
        bench.monitor.wait(job, lambda _: None)
    observations = [bench.client.status(job, 0) for job in jobs]
    assert [(o.outcome.exit_code, o.log) for o in observations] == [(n, b"%d\n" % n) for n in range(5)]
    assert {dataclasses.replace(each.job) for each in bench.listing.attempts()} == set(jobs)


@pytest.mark.core
@pytest.mark.parametrize("name", ["a'; echo foo", 'a "b"', "new\nline", "日本", "$(x)", "two words"])
def test_a_base_directory_may_have_any_name(bench, name):
    bench.base += f"/{name}"
    outcome, seen = bench.run('cd "$SSHJOB_DIR" && cat command')
    assert (outcome.state, seen) == ("succeeded", b'cd "$SSHJOB_DIR" && cat command\n')
