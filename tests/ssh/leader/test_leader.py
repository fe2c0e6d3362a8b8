"""The leader: what it costs, and what happens when it ends, is killed or is stopped."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import socket
import time

import pytest

from luigi_sshjob import RemoteFileSystem, RemoteTarget
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.transports.paramiko.transport import ParamikoTransport

from support import processes
from support.settings import both_transports, configure

fork = multiprocessing.get_context("fork")


def watch_to_the_end(bench, key: str, command: str, results) -> None:
    """A task process: submits, follows the log, and puts the outcome and the log into `results`."""
    bench.key = key
    job = bench.submit(command).job
    seen = bytearray()
    outcome = bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
    results.put((key, outcome.state, bytes(seen)))


class Watchers:
    """Processes that each watch a job, which counts until `finish`."""

    def __init__(self, bench, count: int):
        self.bench = bench
        self.results = fork.Queue()
        self.processes = [
            fork.Process(target=watch_to_the_end, args=(bench, f"Watched{n}", self.command(n), self.results))
            for n in range(count)
        ]
        for process in self.processes:
            process.start()

    def command(self, number: int) -> str:
        counting = f"echo {number} $i; i=$((i+1)); sleep 0.1"
        return f"i=0; while ! [ -e {self.bench.go} ]; do {counting}; done; echo end {number}"

    def all_run(self) -> None:
        running = [f"/jobs/Watched{n}/1/command" for n in range(len(self.processes))]
        processes.wait_until(lambda: all(self.bench.running(text) for text in running), "all jobs", 60)

    def leader(self) -> int:
        """The pid of the process that has the ssh client of the shared shell, or the connection itself; 0 for none."""
        own = {process.pid for process in self.processes}
        if isinstance(self.bench.client._connection.transport, ParamikoTransport):
            return min(own & processes.connected_to(self.bench.host.port), default=0)
        clients = [p for p in processes.running() if p.parent in own and p.args.startswith("ssh ") and "-T" in p.args]
        return clients[0].parent if clients else 0

    def wait_for_leader(self) -> int:
        """Waits until there is a leader, and returns its pid; it may have changed by the next call."""
        seen: list[int] = []
        processes.wait_until(lambda: seen.append(self.leader()) or seen[-1] != 0, "a leader")
        return seen[-1]

    def finish(self) -> dict[str, tuple[str, bytes]]:
        """Ends the jobs; returns the outcome and the log that each process received."""
        self.bench.release()
        alive = [process for process in self.processes if process.is_alive()]
        found = [self.results.get(timeout=60) for _ in alive]
        for process in self.processes:
            process.join(30)
        return {key: (state, seen) for key, state, seen in found}


def check_whole(bench, found) -> None:
    for key, (state, seen) in found.items():
        assert state == "succeeded"
        assert seen.decode() == bench.host.run("sh", "-c", f"cat {bench.base}/jobs/{key}/1/log")


def test_all_processes_share_one_session(bench):
    log = len(bench.host.log_text())
    logins = bench.host.accepted_logins()
    watchers = Watchers(bench, 12)
    watchers.all_run()
    check_whole(bench, watchers.finish())
    assert bench.host.accepted_logins() == logins + 1
    # after the end of the leader the next one opens a session of its own
    assert len(re.findall("Starting session: ", bench.host.log_text()[log:])) <= 6


@both_transports
@pytest.mark.parametrize("end", ["killed", "finished"])
def test_when_the_leader_ends_another_carries_on_without_losing_or_repeating_a_byte(bench, end):
    watchers = Watchers(bench, 6)
    watchers.all_run()
    for _ in range(3):
        pid = watchers.wait_for_leader()
        leader = next(process for process in watchers.processes if process.pid == pid)
        if end == "killed":
            leader.kill()
        else:
            # ends with its own job
            number = watchers.processes.index(leader)
            pids = [pid for pid, args in bench.host.processes() if f"/jobs/Watched{number}/1/command" in args]
            # one of them may be a shell that has become a command meanwhile
            bench.host.run("kill", *map(str, pids), check=False)
            assert watchers.results.get(timeout=30)[:2] == (f"Watched{number}", "killed")
        leader.join(30)
        time.sleep(random.random() * 0.3)
    found = watchers.finish()
    assert len(found) == 3
    check_whole(bench, found)


@both_transports
def test_a_leader_that_is_stopped_is_replaced(bench):
    watchers = Watchers(bench, 3)
    watchers.all_run()
    stopped = watchers.wait_for_leader()
    os.kill(stopped, signal.SIGSTOP)
    try:
        bench.release()
        others = [watchers.results.get(timeout=60) for _ in range(2)]
    finally:
        os.kill(stopped, signal.SIGCONT)
    # when it resumes it notices that it lost its lock, and sends its requests to the next leader
    found = [*others, watchers.results.get(timeout=60)]
    for process in watchers.processes:
        process.join(30)
    check_whole(bench, {key: (state, seen) for key, state, seen in found})


@pytest.mark.needs_docker
def test_waiting_for_silent_jobs_starts_no_process_on_the_host(bench):
    def started() -> int:
        return int(bench.host.run("cat", "/proc/sys/kernel/ns_last_pid"))

    for number in range(5):
        bench.key = f"Silent{number}"
        bench.submit("sleep 300")
    jobs = [each.job for each in bench.listing.attempts()]
    look = -started() + started()
    watchers = [fork.Process(target=bench.monitor.wait, args=(job, lambda _: None)) for job in jobs]
    for watcher in watchers:
        watcher.start()
    try:

        def few() -> bool:
            first = started()
            time.sleep(4)
            # about fifteen looks; the measurement itself starts a few processes, not always the same number
            return started() - first - look < 5

        processes.wait_until(few, "four seconds with hardly any new process", 30)
    finally:
        for watcher in watchers:
            watcher.kill()
            watcher.join()


@pytest.mark.alone
@both_transports
def test_a_chatty_job_does_not_keep_the_others_waiting(bench):
    """Two of them write more than can be transferred."""
    results = fork.Queue()
    command = "yes | head -c 300000000; while :; do yes | head -c 20000000; sleep 0.05; done"
    chatty = [fork.Process(target=watch_to_the_end, args=(bench, f"Chatty{n}", command, results)) for n in range(2)]
    try:
        for process in chatty:
            process.start()
        processes.wait_until(lambda: bench.running("/jobs/Chatty1/1/command"), "chatter")
        bench.key = "Quiet"
        job = bench.submit("sleep 0.5; date +%s.%N").job
        seen = bytearray()
        bench.monitor.wait(job, lambda observation: seen.extend(observation.log))
        assert time.time() - float(seen) < 2
    finally:
        for process in chatty:
            process.kill()
            process.join()


def test_a_client_that_sends_garbage_is_disconnected(bench, luigi_cfg):
    files = RemoteFileSystem(bench.host.alias)
    assert files.exists("/")
    (address,) = [path for path in luigi_cfg.runtime_dir.iterdir() if path.is_socket() and path.suffix]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(address))
        client.sendall(b"\0\0\0\4\0\0\0\1garbage")
        client.settimeout(10)
        assert client.recv(100) == b""
    assert files.exists("/")


@both_transports
def test_nothing_of_the_leader_is_left_when_it_has_ended(bench, luigi_cfg):
    assert RemoteFileSystem(bench.host.alias).exists("/")
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    close_shells()
    assert not [path for path in luigi_cfg.runtime_dir.iterdir() if ".lead" in path.name or path.suffix == ".sock"]
    processes.wait_until(lambda: not bench.running("/bin/sh -s"), "the end of the shared shell")
    assert bench.host.run("sh", "-c", f"ls -A {bench.base}/lib | grep '^[.]' || true") == ""


@both_transports
def test_one_session_is_enough(bench):
    """Watching a silent job pauses while a file is read, and reading waits for that."""
    configure(max_sessions=1)
    results = fork.Queue()
    command = bench.until_released("echo went")
    watcher = fork.Process(target=watch_to_the_end, args=(bench, "Watched", command, results))
    watcher.start()
    processes.wait_until(lambda: bench.running("/jobs/Watched/1/command"), "the job")
    bench.host.run("sh", "-c", "echo text >text")
    since = time.monotonic()
    with RemoteTarget("text", bench.host.alias).open() as reader:
        assert reader.read() == "text\n"
    assert time.monotonic() - since < 10
    bench.release()
    assert results.get(timeout=60) == ("Watched", "succeeded", b"went\n")
    watcher.join(30)
    bench.host.run("rm", "text")
