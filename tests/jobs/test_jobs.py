"""The verbs on jobs against a real host: once, any command, the truth about the end, nothing exposed."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import re
import threading
import time

import pytest

from luigi_sshjob import RemoteTarget
from luigi_sshjob.errors import JobError, JobMismatch, RemoteCommandFailed
from luigi_sshjob.jobs.client import cancel_many
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.spec import Output
from luigi_sshjob.retry import Retry

from support import processes
from support.settings import both_transports, configure

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
@pytest.mark.parametrize(
    ("command", "state", "signal", "code"),
    [
        ("kill -9 $$", "killed", "KILL", 137),
        ("exit 137", "failed", "", 137),
        ("kill -TERM $$", "killed", "TERM", 143),
        ("exit 143", "failed", "", 143),
    ],
)
def test_a_signal_is_told_from_an_exit_code(bench, command, state, signal, code):
    outcome, _ = bench.run(command)
    assert (outcome.state, outcome.signal, outcome.exit_code, outcome.reason) == (state, signal, code, "")


def test_other_success_exit_codes_are_success(bench):
    assert bench.run("exit 3", success_exit_codes=(0, 3))[0].succeeded


@pytest.mark.core
@both_transports
def test_the_whole_log_arrives_also_the_megabytes_right_before_the_end(bench):
    job = bench.submit('head -c 20000000 /dev/urandom | tee "$SSHJOB_DIR/copy"').job
    seen = hashlib.sha256()
    outcome = bench.monitor.wait(job, lambda observation: seen.update(observation.log))
    assert outcome.log_bytes == 20_000_000
    copy = bench.host.run("sha256sum", f"{job.directory}/copy").split()[0]
    assert seen.hexdigest() == copy


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
@both_transports
def test_submitting_again_attaches_and_does_not_launch(bench):
    command = f"echo run >>ledger-again; {bench.until_told()}"
    first = bench.submit(command)
    second = bench.submit(command)
    assert (first.attached, second.attached) == (False, True)
    assert first.job == second.job
    bench.tell()
    assert bench.monitor.wait(first.job, lambda _: None).succeeded
    assert bench.host.run("sh", "-c", "cat ledger-again; rm ledger-again") == "run\n"


def submit_after(start, bench, results, command) -> None:
    start.wait()
    results.put(bench.submit(command).job.id)


@pytest.mark.core
@both_transports
def test_workers_that_submit_at_the_same_moment_run_it_once(bench):
    start, results = fork.Event(), fork.Queue()
    command = f"echo run >>ledger-same; {bench.until_told()}"
    workers = [fork.Process(target=submit_after, args=(start, bench, results, command)) for _ in range(8)]
    for worker in workers:
        worker.start()
    start.set()
    assert {results.get(timeout=60) for _ in workers} == {"Task/1"}
    for worker in workers:
        worker.join(30)
    job = bench.submit(command).job
    bench.tell()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    assert bench.host.run("sh", "-c", "cat ledger-same; rm ledger-same") == "run\n"


def test_a_launch_may_be_repeated_and_the_run_is_not(bench):
    job = bench.submit(f"echo run >>ledger-launch; {bench.until_told()}").job
    for _ in range(3):
        bench.control.relaunch(job)
    bench.tell()
    assert bench.monitor.wait(job, lambda _: None).succeeded
    bench.control.relaunch(job)
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of all supervisors")
    assert bench.host.run("sh", "-c", "cat ledger-launch; rm ledger-launch") == "run\n"


def test_a_claim_that_was_never_filled_is_taken_over(bench):
    bench.host.run("sh", "-c", f"mkdir -p {bench.base}/jobs/Task/1")
    submission = bench.submit("echo mine")
    assert submission.job.attempt == 1
    assert bench.monitor.wait(submission.job, lambda _: None).succeeded


def test_an_attempt_of_which_somebody_removed_a_part_is_left_behind(bench):
    first = bench.submit("exit 1").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    bench.host.run("sh", "-c", f"cd {first.directory} && rm spec exit_record digests")
    second = bench.submit("exit 0").job
    assert second.attempt == 2
    assert bench.monitor.wait(second, lambda _: None).succeeded


@pytest.mark.alone
def test_a_supervisor_that_cannot_start_is_said(bench):
    """Its claim is found, launched again, and given up with what the host said."""
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code && chmod 500 .")
    impatient = JobMonitor(bench.control, Retry(2), poll_interval=0.2, start_timeout=0.5)
    try:
        if bench.host.run("id", "-u").strip() == "0":
            pytest.skip("root may write everywhere")
        with pytest.raises(JobError, match=r"claimed for \d s: .*Permission denied[\s\S]*Next: "):
            impatient.wait(job, lambda _: None)
    finally:
        bench.host.run("chmod", "700", job.directory)


@both_transports
def test_an_outcome_nobody_collected_is_collected_and_not_run_again(bench):
    first = bench.submit("exit 5").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    again = bench.submit("exit 5")
    assert (again.attached, again.job) == (True, first)
    bench.control.collect(first)
    assert bench.submit("exit 5").job.attempt == 2


def test_a_running_job_with_another_command_is_an_error_that_says_how_to_end_it(bench):
    bench.submit("sleep 300")
    with pytest.raises(JobMismatch, match=r"another command .*[\s\S]*luigi-sshjob kill .* Task/1"):
        bench.submit("sleep 301")
    with pytest.raises(JobMismatch, match="another environment"):
        bench.submit("sleep 300", environment={"A": "b"})


def test_an_old_result_of_another_command_is_not_this_ones(bench):
    first = bench.submit("exit 1").job
    bench.wait_for_file(f"{first.directory}/exit_record")
    outcome, seen = bench.run("echo mended")
    assert (outcome.succeeded, seen) == (True, b"mended\n")


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
    assert "made no output" in outcome.reason


def test_a_working_directory_that_is_not_there_is_said(bench):
    outcome, seen = bench.run("pwd", working_directory="/no/such")
    assert outcome.state == "failed"
    assert "no directory /no/such" in outcome.reason
    assert b"/no/such" in seen
    assert bench.run("pwd", working_directory="/usr/share")[1] == b"/usr/share\n"
    bench.host.run("mkdir", "-p", "sub/here")
    assert bench.run("pwd", working_directory="sub/here")[1].decode() == f"{bench.host.home}/sub/here\n"
    bench.host.run("rm", "-r", "sub")
    assert bench.run("pwd")[1].decode().strip() == bench.host.home


@pytest.mark.core
def test_a_time_limit_is_kept_on_the_host(bench):
    outcome, _ = bench.run("trap '' TERM; sleep 300 & sleep 301", time_limit=1, kill_grace=1)
    assert outcome.state == "timed_out"
    assert not bench.running("sleep 30")


def test_a_time_limit_is_not_over_because_somebody_ended_a_sleep(bench):
    job = bench.submit(bench.until_told(), time_limit=361).job
    processes.wait_until(lambda: bench.running("sleep 361"), "the deadline's sleep")
    first = [pid for pid, args in bench.host.processes() if args == "sleep 361"]
    bench.host.run("kill", *map(str, first))
    processes.wait_until(lambda: bench.running("sleep 36") or bench.running("sleep 35"), "another sleep")
    bench.tell()
    assert bench.monitor.wait(job, lambda _: None).succeeded


def test_a_record_is_written_also_when_the_job_has_removed_our_files(bench):
    outcome, _ = bench.run('rm -rf "$SSHJOB_DIR/run"; exit 3')
    assert (outcome.state, outcome.exit_code) == ("failed", 3)


def test_a_shutdown_of_the_host_is_no_cancellation(bench):
    job = bench.submit("sleep 371").job
    processes.wait_until(lambda: bench.running("sleep 371"), "the command")
    bench.host.run("kill", "-TERM", str(supervisor(bench)))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, "told to end (SIGTERM)" in outcome.reason) == ("killed", True)
    assert not bench.running("sleep 371")


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
    """The one who cancels wins the run, so a supervisor that comes late leaves at once."""
    job = bench.submit("exit 0").job
    bench.monitor.wait(job, lambda _: None)
    bench.host.run("sh", "-c", f"cd {job.directory} && rm started identity* exit_record exit_code")
    assert bench.monitor.cancel(job, grace=1).state == "cancelled"
    bench.control.relaunch(job)
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the late supervisor")
    assert "cancelled" in bench.host.run("cat", f"{job.directory}/exit_record")


def supervisor(bench) -> int:
    return next(pid for pid, args in bench.host.processes() if "supervise.sh" in args)


@pytest.mark.core
def test_a_dead_supervisor_is_lost_only_when_its_command_is_gone_too(bench):
    job = bench.submit("sleep 321").job
    processes.wait_until(lambda: bench.running("sleep 321"), "the command")
    bench.host.run("kill", "-9", str(supervisor(bench)))
    # the kernel takes a moment
    processes.wait_until(lambda: bench.control.status(job).state is not State.RUNNING, "the end of the supervisor")
    assert bench.control.status(job, 0).state is State.UNSUPERVISED
    assert bench.submit("sleep 321").attached
    command = [pid for pid, args in bench.host.processes() if "sleep 321" in args or args.endswith("/command")]
    bench.host.run("kill", "-9", *map(str, command))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    assert "without an exit record" in outcome.reason


def test_an_unsupervised_command_can_be_cancelled(bench):
    job = bench.submit("sleep 331").job
    processes.wait_until(lambda: bench.running("sleep 331"), "the command")
    bench.host.run("kill", "-9", str(supervisor(bench)))
    bench.monitor.cancel(job, grace=1)
    assert not bench.running("sleep 331")


@pytest.mark.parametrize("cleaned", [True, False])
def test_a_time_limit_of_an_attempt_that_was_cleaned_up_does_not_end_the_next(bench, cleaned):
    """Its watchdog lives on where its supervisor was killed, to end what that has left."""
    bench.submit("echo old; exec sleep 361", time_limit=12, kill_grace=1)
    processes.wait_until(lambda: bench.running("sleep 361") and bench.running("sleep 12"), "the command")
    old = bench.control.latest("Task")
    bench.host.run("kill", "-9", bench.host.run("sed", "-n", "s/pid: //p", f"{old.directory}/identity").strip())
    if not cleaned:
        processes.wait_until(lambda: bench.control.status(old).state is State.LOST, "the end by the watchdog")
        assert not bench.running("sleep 361")
        return
    bench.host.run("kill", "-9", *(str(pid) for pid, args in bench.host.processes() if "sleep 361" in args))
    processes.wait_until(lambda: bench.control.status(old).state is State.LOST, "the loss")
    bench.control.collect(old)
    bench.survey.discard([old])
    new = bench.submit(bench.until_told()).job
    assert new == old
    bench.wait_for_file(f"{new.directory}/identity")
    processes.wait_until(lambda: not bench.running("sleep 12"), "the old time limit")
    # until then it may kill
    processes.wait_until(
        lambda: sum("supervise.sh" in args for _, args in bench.host.processes()) == 1, "the end of the old watchdog"
    )
    bench.tell()
    assert bench.monitor.wait(new, lambda _: None).succeeded


def test_the_number_of_an_attempt_that_has_left_a_process_is_not_given_to_another(bench):
    """Else that one's cancellation would end it, too."""
    bench.run("setsid sleep 363 >/dev/null 2>&1 & :")
    left = [pid for pid, args in bench.host.processes() if "sleep 363" in args]
    first = bench.control.latest("Task")
    bench.survey.discard([first])
    assert bench.host.run("ls", "-A", first.directory) == "collected\n"
    second = bench.submit("sleep 364").job
    processes.wait_until(lambda: bench.running("sleep 364"), "the command")
    bench.monitor.cancel(second, grace=1)
    assert (second.attempt, bench.running("sleep 363")) == (2, True)
    bench.host.run("kill", *map(str, left))
    processes.wait_until(lambda: not bench.running("sleep 363"), "its end")
    bench.survey.discard([first])
    assert bench.host.run("ls", "-A", f"{bench.folder}/jobs/Task") == "2\n"


def test_a_cancellation_that_nobody_heard_is_repeated(bench):
    """As where the supervisor is about to start at that moment."""
    job = bench.submit("sleep 362").job
    processes.wait_until(lambda: bench.running("sleep 362"), "the command")
    identity = f"{job.directory}/identity"
    bench.host.run("sed", "-i", "s/^machine: /&not-/", identity)
    heard = threading.Timer(0.5, lambda: bench.host.run("sed", "-i", "s/^machine: not-/machine: /", identity))
    heard.start()
    assert cancel_many(bench.control._connection, [(job, 1)], time.monotonic() + 10) == []
    heard.join()
    assert not bench.running("sleep 362")


def test_another_process_with_the_same_number_is_not_the_supervisor(bench):
    job = bench.submit("sleep 341").job
    processes.wait_until(lambda: bench.running("sleep 341"), "the command")
    own = [pid for pid, args in bench.host.processes() if "supervise" in args or "/command" in args or "341" in args]
    bench.host.run("kill", "-9", *map(str, own))
    # the pid of a process that lives, with the start time of one that does not
    bench.host.run("sed", "-i", "s/^pid: .*/pid: 1/", f"{job.directory}/identity")
    assert bench.monitor.wait(job, lambda _: None).state == "lost"


def test_a_deleted_job_directory_is_lost_when_nothing_runs_any_more(bench):
    there = f"{bench.folder}/there"
    job = bench.submit(f"touch {there}; while [ -e {there} ]; do sleep 0.1; done").job
    bench.wait_for_file(there)
    bench.host.run("rm", "-rf", job.directory)
    assert bench.control.status(job).state is State.UNSUPERVISED
    with pytest.raises(RemoteCommandFailed, match="still run, whose directory was deleted"):
        bench.submit("true")
    bench.host.run("rm", there)
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, "was deleted" in outcome.reason) == ("lost", True)


DELETED = {
    "Contents": "rm -rf {directory}/*",
    # as on NFS, where a file that is open gets another name
    "Open": "cd {directory} && mv log .nfs0123 && rm -rf *",
    "Spec": "rm {directory}/spec",
    "Task": "rm -rf {base}/jobs/Task",
    "Base": "rm -rf {base}",
}


def test_nothing_that_is_deleted_of_a_running_job_lets_another_run_begin(bench):
    command = f'echo "$SSHJOB_ID" >>ledger-deleted; {bench.until_told()}'
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
        for bench.key in keys:
            with pytest.raises(RemoteCommandFailed, match="still run, whose directory was deleted"):
                bench.submit(command)
    bench.tell()
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the jobs")
    ran = bench.host.run("sh", "-c", "cat ledger-deleted; rm ledger-deleted").split()
    assert sorted(ran) == sorted(job.id for job in jobs.values())
    # whatever was deleted, it is in nobody's way for ever
    assert all(bench.run("true")[0].succeeded for bench.key in keys)


def test_a_record_that_a_power_cut_has_emptied_makes_a_lost_job(bench):
    job = bench.submit("true").job
    bench.wait_for_file(f"{job.directory}/exit_record")
    bench.host.run("sh", "-c", f": >{job.directory}/exit_record")
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the supervisor")
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, "without an exit record" in outcome.reason) == ("lost", True)
    bench.control.collect(job)
    assert bench.submit("true").job.attempt == 2


@pytest.mark.needs_docker
def test_a_restarted_host_is_the_reason_of_a_loss(bench):
    job = bench.submit("sleep 351").job
    processes.wait_until(lambda: bench.running("sleep 351"), "the command")
    bench.host.restart()
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.reason) == ("lost", "the host was restarted while it ran")


@both_transports
@pytest.mark.needs_docker
def test_a_host_that_does_not_answer_for_a_while_costs_the_job_nothing(bench):
    configure(request_timeout=2)
    job = bench.submit(bench.until_told("echo through")).job
    pause = fork.Process(target=lambda: (bench.host.pause(), time.sleep(6), bench.host.unpause(), bench.tell()))
    pause.start()
    seen = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
    pause.join(30)
    assert (outcome.state, bytes(seen)) == ("succeeded", b"through\n")


SECRET = 'pass\'word $(x) "y" \\ ü\nsecond line'


@pytest.mark.core
@both_transports
def test_the_environment_arrives_and_is_not_to_be_seen(bench):
    there = f"{bench.folder}/there"
    until_told = f"touch {there}; while [ -e {there} ]; do sleep 0.1; done"
    command = f'printf "%s" "$PASSWORD" | sha256sum; {until_told}; cat "$SSHJOB_DIR/environment" && echo empty'
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


def test_all_of_ours_is_private_whatever_the_umask(bench):
    job = bench.submit("umask; touch mine; stat -c %a mine; rm mine; exit 1").job
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.exit_code == 1
    found = bench.host.run("sh", "-c", f"find {bench.base} -printf '%y %m %p\\n'")
    assert all(line.startswith(("d 700 ", "f 600 ")) for line in found.splitlines()), found
    assert bench.host.run("cat", f"{job.directory}/log") == "0022\n644\n"


def test_a_relative_base_directory_is_below_the_home(bench):
    bench.base = bench.folder
    outcome, seen = bench.run('cat "$SSHJOB_DIR/spec"; echo "$A"', working_directory="/", environment={"A": "b"})
    assert outcome.succeeded
    assert seen.endswith(b"\nb\n")
    assert bench.host.run("ls", f"{bench.folder}/jobs") == "Task\n"


def test_a_base_directory_that_cannot_be_made_is_said_and_nothing_is_left(bench):
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


def test_removing_takes_a_collected_attempt_only(bench):
    job = bench.submit(bench.until_told()).job
    with pytest.raises(RemoteCommandFailed, match="not ended"):
        bench.control.remove(job)
    bench.tell()
    bench.monitor.wait(job, lambda _: None)
    bench.control.collect(job)
    bench.control.remove(job)
    # the log and the record go together
    assert bench.host.run("ls", "-A", job.directory) == "collected\n"
    # whoever else watches it still learns how it ended, and its number is not used again
    assert bench.control.status(job).outcome.succeeded
    assert bench.submit("true").job.attempt == 2


def test_a_published_record_and_log_outlive_their_attempt(bench, host):
    job = bench.submit("echo kept", publish=True).job
    bench.monitor.wait(job, lambda _: None)
    bench.control.collect(job)
    bench.control.remove(job)
    assert RemoteTarget(f"{bench.base}/jobs/Task/log", host.alias).open().read() == "kept\n"
    assert "succeeded" in RemoteTarget(f"{bench.base}/jobs/Task/exit_record", host.alias).open().read()
    assert not RemoteTarget(f"{job.directory}/command", host.alias).exists()


@pytest.mark.needs_docker
def test_a_record_and_log_are_published_where_no_link_to_another_directory_can_be_made(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    sshd = int(bench.host.run("pgrep", "-x", "-o", "sshd", user="root"))
    with bench.host.strace(sshd, "linkat:error=EXDEV"):
        job = bench.submit("echo kept", publish=True).job
        assert bench.monitor.wait(job, lambda _: None).succeeded
    published = f"{bench.base}/jobs/Task"
    for name in ("log", "exit_record"):
        there, here = (bench.host.run("cat", f"{folder}/{name}") for folder in (published[2:], job.directory))
        assert (there, there != "") == (here, True)
    bench.control.collect(job)
    bench.control.remove(job)
    assert RemoteTarget(f"{published}/log", bench.host.alias).open().read() == "kept\n"
    assert bench.host.run("sh", "-c", f"cd {published} && ls -A . 1").split() == [
        *(".:", "1", "exit_record", "log"),
        *("1:", "collected"),
    ]


@pytest.mark.core
@both_transports
def test_each_of_many_jobs_has_its_own_status_and_log(bench):
    jobs = []
    for number in range(5):
        bench.key = f"Task{number}"
        jobs.append(bench.submit(f"echo {number}; exit {number}").job)
    for job in jobs:
        bench.monitor.wait(job, lambda _: None)
    observations = [bench.control.status(job, 0) for job in jobs]
    assert [(o.outcome.exit_code, o.log) for o in observations] == [(n, b"%d\n" % n) for n in range(5)]
    assert {dataclasses.replace(each.job) for each in bench.survey.attempts()} == set(jobs)


@pytest.mark.core
@pytest.mark.parametrize("name", ["a'; echo foo", 'a "b"', "new\nline", "日本", "$(x)", "two words"])
def test_a_base_directory_may_have_any_name(bench, name):
    bench.base += f"/{name}"
    outcome, seen = bench.run('cd "$SSHJOB_DIR" && cat command')
    assert (outcome.state, seen) == ("succeeded", b'cd "$SSHJOB_DIR" && cat command\n')
