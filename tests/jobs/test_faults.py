"""What goes wrong between a worker and a job, and what comes of it: real kills, cut wires, full disks."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import re
import subprocess
import threading
import time

import pytest

from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, request_text

from support import processes
from support.fault_injection import Shim
from support.settings import both_transports

fork = multiprocessing.get_context("fork")


@pytest.fixture
def shim(host):
    made = Shim(host)
    yield made
    made.remove()


@pytest.fixture
def ledger(host):
    """A file outside of all job directories; commands append a line to it."""
    path = f"{host.home}/ledger"
    yield path
    host.run("rm", "-f", path)


def wait_for_command(bench, text: str) -> None:
    processes.wait_until(lambda: bench.running(text), text)


# -- once


@pytest.mark.needs_docker
@pytest.mark.parametrize("how", ["before", "after", "hold"])
def test_a_worker_killed_at_any_step_of_submit_costs_nothing(bench, shim, ledger, how):
    """Its agent is killed before or after that step, or goes on without it. The next worker finds what there is."""
    command = f"echo run >>{ledger}; sleep 0.2"
    steps = 0
    while True:
        steps += 1
        bench.key = f"Step{steps}"
        shim.arm(steps, how)
        worker = fork.Process(target=bench.submit, args=(command,))
        worker.start()
        processes.wait_until(lambda worker=worker: shim.reached() or not worker.is_alive(), f"step {steps}")
        # a launch is not waited for
        processes.wait_until(lambda: shim.reached() or shim.idle(), "what the worker has begun")
        reached = shim.reached()
        worker.kill()
        worker.join()
        shim.disarm()
        job = bench.submit(command).job
        assert bench.monitor.wait(job, lambda _: None).succeeded
        bench.control.collect(job)
        processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of all supervisors")
        assert bench.host.run("cat", ledger) == "run\n" * steps
        assert job.attempt == 1
        if not reached:
            break
    # stage, claim and launch: fewer means that nothing was stopped
    assert steps > 3


@both_transports
def test_a_connection_cut_anywhere_during_submit_costs_nothing(proxy, bench, ledger):
    command = f"echo run >>{ledger}\n: {'x' * 20_000}"
    bench.submit(command)
    bench.control._connection.transport.close()
    before = proxy.sent, proxy.received
    bench.key = "Measured"
    bench.submit(command)
    sent, received = proxy.sent - before[0], proxy.received - before[1]
    # also the very answer to a submit that was done
    places = [{"sent": sent * n // 8} for n in range(1, 9)] + [{"received": received - n} for n in (0, 60, 120, 1000)]
    for number, place in enumerate(places):
        bench.control._connection.transport.close()
        bench.key = f"Cut{number}"
        proxy.cut_after(**place)
        job = Retry(60).call(lambda: bench.submit(command).job)
        assert bench.monitor.wait(job, lambda _: None).succeeded
        assert bench.host.run("cat", ledger) == "run\n" * (number + 3)


@both_transports
def test_a_request_that_is_cut_off_at_the_end_of_a_word_is_not_run(bench):
    """A shell runs the last line of its input also without the newline; of a submit that could be half a job."""
    remote = RemoteShell(bench.control._connection.transport, deadline=time.monotonic() + 20)
    session = remote.session
    request = remote.conversation.request(request_text("job_latest", "~", "x"))
    session.write(request[:-3], deadline=time.monotonic() + 5)
    session.close_stdin()
    answer = b""
    while chunk := session.read(1000, deadline=time.monotonic() + 10):
        answer += chunk
    assert b" end 1 " not in answer
    remote.close()


# -- lost, or not


def kill_sessions(host) -> None:
    """As `systemctl restart ssh` with all sessions: the listener starts anew, its connections end."""
    listener, *_ = host.run("pgrep", "-x", "-o", "sshd", user="root").split()
    sessions = host.run("sh", "-c", f"pgrep -x sshd | grep -vx {listener}", user="root", check=False).split()
    host.run("kill", "-HUP", listener, user="root")
    host.run("kill", "-9", *sessions, user="root")
    host.wait_until_up()


@both_transports
@pytest.mark.needs_docker
def test_a_restarted_sshd_costs_the_job_nothing(bench):
    job = bench.submit(bench.until_told("echo through")).job
    bench.wait_for_file(f"{job.directory}/identity")
    logins = bench.host.accepted_logins()
    restart = fork.Process(target=lambda: (kill_sessions(bench.host), bench.tell()))
    restart.start()
    seen = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
    restart.join(30)
    assert (outcome.state, bytes(seen)) == ("succeeded", b"through\n")
    assert bench.host.accepted_logins() == logins + 1


@pytest.mark.timeout(240)
def test_a_network_cut_of_a_minute_is_reported_as_nothing_and_the_job_goes_on(proxy, bench):
    job = bench.submit("echo before; sleep 20; echo in the dark").job
    bench.control.status(job)
    proxy.silence()
    states, seen = set(), bytearray()

    def watch(observation) -> None:
        states.add(observation.state)
        seen.extend(observation.log)

    restore = threading.Timer(60, proxy.restore)
    restore.start()
    outcome = bench.monitor.wait(job, watch)
    assert restore.finished.is_set(), "the wire was still cut"
    assert (outcome.state, bytes(seen)) == ("succeeded", b"before\nin the dark\n")
    assert states == {State.ENDED}


def test_a_killed_process_group_is_lost_with_a_reason(bench):
    job = bench.submit("sleep 381").job
    wait_for_command(bench, "sleep 381")
    everything = [pid for pid, args in bench.host.processes() if job.directory in args or "sleep 381" in args]
    bench.host.run("kill", "-9", *map(str, everything))
    since = time.monotonic()
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("lost", None)
    assert re.fullmatch(r"its supervisor \(process \d+\) is gone without an exit record", outcome.reason)
    assert time.monotonic() - since < 10


# the kernel counts what it kills for the whole machine, and records of others' jobs would tell of it
@pytest.mark.alone
@pytest.mark.needs_docker
def test_exhausted_memory_is_the_reason_of_the_end(special_bench):
    bench = special_bench(mem_limit="200m", memswap_limit="200m")
    outcome, _ = bench.run("#!/usr/bin/env python3\nx = bytearray(10**9)")
    assert (outcome.state, outcome.signal) == ("killed", "KILL")
    assert "for want of memory" in outcome.reason
    # here the supervisor is gone too
    bench.key = "Lost"
    job = bench.submit("python3 -c 'x = bytearray(10**9)'; echo over; sleep 391").job
    wait_for_command(bench, "sleep 391")
    everything = [pid for pid, args in bench.host.processes() if job.directory in args or "sleep 391" in args]
    bench.host.run("kill", "-9", *map(str, everything))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    assert "is gone without an exit record; since it began the kernel killed for want of memory" in outcome.reason


# -- the log


@both_transports
def test_a_hundred_megabytes_of_log_arrive_byte_by_byte(bench):
    megabytes = 100
    job = bench.submit(f"head -c {megabytes - 1}000000 /dev/urandom; sleep 0.1; head -c 1000000 /dev/urandom").job
    seen, size = hashlib.sha256(), 0

    def watch(observation) -> None:
        nonlocal size
        seen.update(observation.log)
        size += len(observation.log)

    outcome = bench.monitor.wait(job, watch)
    assert outcome.log_bytes == size == megabytes * 1_000_000
    assert seen.hexdigest() == bench.host.run("sha256sum", f"{job.directory}/log").split()[0]


# -- dead when killed


@pytest.mark.parametrize(
    ("command", "signal", "sent"), [("sleep 300", "TERM", "TERM"), ("trap '' TERM; sleep 300 & wait", "KILL", "KILL")]
)
def test_the_record_of_a_cancelled_job_says_by_whom_and_by_what_signal(bench, command, signal, sent):
    job = bench.submit(command).job
    wait_for_command(bench, "sleep 300")
    outcome = bench.monitor.cancel(job, grace=1)
    assert (outcome.state, outcome.signal) == ("cancelled", signal)
    assert re.fullmatch(rf"by \S+@\S+ \(process \d+\); its processes were sent {sent}", outcome.reason)


def test_a_command_that_ends_itself_on_term_keeps_its_own_exit_code(bench):
    job = bench.submit("trap 'sleep 0.5; exit 3' TERM; echo up; while :; do sleep 0.1; done").job
    bench.wait_for_file(f"{job.directory}/identity")
    processes.wait_until(lambda: bench.control.status(job, 0).log == b"up\n", "the trap")
    outcome = bench.monitor.cancel(job, grace=10)
    assert (outcome.state, outcome.exit_code, outcome.signal) == ("cancelled", 3, "")


@both_transports
def test_a_time_limit_is_kept_with_nobody_connected(bench):
    job = bench.submit("sleep 300", time_limit=2, kill_grace=1).job
    bench.control._connection.transport.close()
    processes.wait_until(lambda: not bench.running("supervise.sh"), "the end of the job")
    assert not bench.running("sleep 300")
    outcome = bench.control.status(job).outcome
    assert (outcome.state, outcome.signal) == ("timed_out", "TERM")


def test_a_timer_that_is_killed_alone_takes_the_command_with_it(bench):
    """Else the command would go on while its record says that it has ended."""
    job = bench.submit("sleep 395").job
    wait_for_command(bench, "sleep 395")
    timer = [pid for pid, args in bench.host.processes() if args.startswith("/usr/bin/time ")]
    if not timer:
        pytest.skip("this host has no time(1)")
    bench.host.run("kill", "-9", *map(str, timer))
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.signal) == ("killed", "KILL")
    assert not bench.running("sleep 395")


# -- secrets


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


# -- storage


SMALL = "/small"


@pytest.fixture
def small(special_bench):
    """A host whose base directory is on a disk of 2 MB."""
    bench = special_bench(tmpfs={SMALL: "size=2m,uid=1000,mode=700"}, cap_add=["SYS_ADMIN"])
    bench.base = f"{SMALL}/jobs"
    return bench


class Disk:
    """An ext4 in a file of this machine, which behaves like a broken disk when it is told to."""

    def __init__(self, folder):
        self.path = folder / "disk"
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(16 << 20)
        self.path.mkdir()
        for argv in (["mkfs.ext4", "-q", "-F", "-m", "0", image], ["mount", "-o", "loop", image, self.path]):
            subprocess.run(argv, check=True, capture_output=True)
        os.chown(self.path, 1000, 1000)

    def abort(self) -> None:
        """As ext4 does by itself after an error of the disk: read-only from here on, also for who has files open."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def broken_disk(tmp_path):
    try:
        disk = Disk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield disk
    disk.unmount()


def fill(bench) -> None:
    bench.host.run("sh", "-c", f"cat /dev/zero >{SMALL}/filling", check=False)


@pytest.mark.needs_docker
def test_a_full_disk_at_submit_is_an_error_that_says_so_and_leaves_nothing(small):
    small.submit("true")
    fill(small)
    small.key = "Second"
    with pytest.raises(RemoteCommandFailed, match=r"No space left on device[\s\S]*Next: .*nothing was submitted"):
        small.submit("true " + "x" * 100_000)
    small.host.run("rm", f"{SMALL}/filling")
    assert small.host.run("ls", "-A", f"{small.base}/jobs/Second").split() in ([], ["1"])
    assert small.run("echo room")[1] == b"room\n"


@pytest.mark.needs_docker
def test_a_disk_that_fills_up_while_the_job_runs_still_gets_its_record(small):
    outcome, _ = small.run(f"cat /dev/zero >{SMALL}/filling || exit 9")
    assert (outcome.state, outcome.exit_code) == ("failed", 9)


@pytest.mark.needs_docker
def test_a_disk_that_goes_read_only_makes_a_lost_job_that_says_why(broken_disk, special_bench):
    bench = special_bench(volumes={str(broken_disk.path): {"bind": SMALL}})
    bench.base = f"{SMALL}/jobs"
    job = bench.submit(bench.until_told()).job
    wait_for_command(bench, "/command")
    broken_disk.abort()
    bench.tell()
    outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    # what an ext4 says that has just given up
    broken = r"cannot be (written|put).*: (Read-only file system|Bad message|Structure needs cleaning)"
    assert re.search(broken, outcome.reason)
    bench.key = "Second"
    with pytest.raises(RemoteCommandFailed, match=broken):
        bench.submit("true")


@pytest.mark.needs_docker
def test_a_used_up_quota_makes_a_record_as_soon_as_there_is_room_and_no_success_before(special_bench):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    job = bench.submit(bench.until_told("exit 5")).job
    wait_for_command(bench, "supervise.sh")
    supervisor = next(pid for pid, args in bench.host.processes() if "supervise.sh" in args)
    with bench.host.strace(supervisor, "write:error=EDQUOT"):
        bench.tell()
        wait_for_command(bench, "sleep 0.1")
        processes.wait_until(lambda: not bench.running("/command"), "the end of the command")
        time.sleep(2)
        assert bench.control.status(job).state is State.RUNNING
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.exit_code) == ("failed", 5)


@pytest.mark.needs_docker
def test_a_slow_directory_makes_a_slow_job_and_nothing_else(special_bench, ledger):
    bench = special_bench(cap_add=["SYS_PTRACE"])
    sshd = int(bench.host.run("pgrep", "-x", "-o", "sshd", user="root"))
    with bench.host.strace(sshd, "%file:delay_enter=20000"):
        outcome, seen = bench.run(f"echo run >>{ledger}; cat {ledger}")
    assert (outcome.state, seen) == ("succeeded", b"run\n")


@pytest.mark.alone
@pytest.mark.needs_docker
def test_a_supervisor_that_never_shows_up_is_given_up_with_the_reason(small):
    job = small.submit("true").job
    small.monitor.wait(job, lambda _: None)
    small.host.run("sh", "-c", f"cd {job.directory} && rm -r started identity* exit_record exit_code")
    fill(small)
    impatient = JobMonitor(small.control, Retry(60), poll_interval=0.2, start_timeout=0.3, launches=15)
    with pytest.raises(JobError, match=r"claimed for \d+ s: .*No space left on device[\s\S]*Next: "):
        impatient.wait(job, lambda _: None)


# -- cleanup


@pytest.mark.needs_docker
def test_a_cleanup_that_is_cut_off_is_done_again(bench, shim):
    job = bench.submit("echo x").job
    bench.monitor.wait(job, lambda _: None)
    bench.control.collect(job)
    shim.arm(3, "before")
    bench.control._connection.close_shell()
    bench.control._connection.request("echo_back", "up")
    bench.control.remove(job)
    assert shim.reached()
    assert bench.host.run("ls", "-A", job.directory) == "collected\n"


def test_cleanup_goes_nowhere_but_into_a_jobs_directory(bench):
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.control.collect(job)
    bench.host.run("sh", "-c", f"mkdir keep && cp -r {job.directory}/. keep && ln -s ~/keep {job.directory[:-1]}7")
    for directory in (f"{bench.host.home}/keep", f"{job.directory[:-1]}7", job.directory + "/.."):
        with pytest.raises(RemoteCommandFailed, match="no directory of a job"):
            bench.control.remove(dataclasses.replace(job, directory=directory))
    assert "exit_record" in bench.host.run("ls", "keep")
    bench.host.run("rm", "-r", "keep")
