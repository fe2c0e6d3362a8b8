"""The number of sessions is limited, for all processes together."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import threading
import time

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter

from support import processes
from support.parallel import in_processes
from support.settings import both_transports, configure

fork = multiprocessing.get_context("fork")


def test_processes_wait_for_a_free_session(host, luigi_cfg):
    configure(max_sessions=2)
    before, log = host.accepted_logins(), len(host.log_text())
    assert in_processes(12, RemoteContext(host.alias)) == [b"hi\n"] * 12
    assert host.accepted_logins() == before + 1
    sessions = most = 0
    for word in re.findall("(Starting|Close) session: ", host.log_text()[log:]):
        sessions += 1 if word == "Starting" else -1
        most = max(most, sessions)
    # sshd logs the end of a session slightly later than its client sees it
    assert 2 <= most <= 3


def _timers(host):
    """The pids of the processes that time questions about paths, see `timed_session`."""
    return [pid for pid, args in host.processes() if args == "sleep 4321"]


def _wait_for_no_timer(host):
    processes.wait_until(lambda: not _timers(host), "the end of the timer")


@pytest.fixture
def timed_session(host, luigi_cfg, files, folder):
    """Opens a session with such a process, and returns the pid of its shell on the host."""
    configure(path_timeout=4 * 4321.0, request_timeout=8 * 4321.0)
    assert files.exists(folder)
    # it starts while the question is answered
    processes.wait_until(lambda: _timers(host), "the timer")
    (pid,) = _timers(host)
    for _ in ("the loop of the timer", "the shell"):
        pid = int(host.run("cut", "-d", " ", "-f", "4", f"/proc/{pid}/stat"))
    return pid


def test_a_closed_session_leaves_no_process_on_the_host(host, timed_session):
    close_shells()
    _wait_for_no_timer(host)


def test_a_session_closed_during_a_response_leaves_no_process_on_the_host(host, timed_session):
    """Its shell writes to a pipe that nobody reads."""
    host.run("kill", "-PIPE", str(timed_session))
    close_shells()
    _wait_for_no_timer(host)


@pytest.fixture
def held_sessions(host, text_folder):
    """A command that keeps its session open, and a function that ends all of these."""
    go = f"{text_folder}/go"
    return f"while ! [ -e {go} ]; do sleep 0.1; done", lambda: host.run("touch", go)


def test_clients_above_max_sessions_fail_instead_of_logging_in(host, luigi_cfg, held_sessions):
    context = RemoteContext(host.alias)
    script, end = held_sessions
    command = context._prepare_cmd([script])
    before = host.accepted_logins()
    clients = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(13)]
    processes.wait_until(lambda: sum(client.poll() is not None for client in clients) == 3, "the end of three")
    end()
    assert sorted(client.wait(30) for client in clients) == [0] * 10 + [255] * 3
    assert host.accepted_logins() == before


def test_a_request_waits_when_the_server_refuses_a_session(host, luigi_cfg, held_sessions):
    """Other programs may use the sessions of the connection; requests then wait, and do not log in again."""
    context = RemoteContext(host.alias)
    script, end = held_sessions
    command = context._prepare_cmd([script])
    others = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(10)]
    processes.wait_until(lambda: sum(script in args for _, args in host.processes()) >= 10, "ten sessions")
    before = host.accepted_logins()
    ending = threading.Timer(2, end)
    ending.start()
    assert not RemoteFileSystem(host.alias).exists("nothing")
    ending.join()
    assert host.accepted_logins() == before
    for other in others:
        assert other.wait(30) == 0


def test_the_limit_adapts_to_the_server_after_a_refused_session(tmp_path):
    limiter = SessionLimiter(tmp_path, "box", 8)
    held = [limiter.acquire(deadline=0, host="box") for _ in range(4)]
    held.pop().release(remove=True)
    limiter.learn_limit()
    assert limiter.limit == 3


@both_transports
def test_an_idle_session_is_released_for_a_waiting_process(host, luigi_cfg):
    configure(max_sessions=1)
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    results = fork.Queue()
    child = fork.Process(target=lambda: results.put(files.exists("/")))
    child.start()
    assert results.get(timeout=20) is True
    child.join(30)


@pytest.mark.needs_docker
def test_a_server_that_allows_one_session_gets_one_at_a_time(special_bench, luigi_cfg):
    """The limit adapts to a server that allows less than max_sessions."""
    bench = special_bench()
    bench.host.configure_sshd("MaxSessions 1")
    context = RemoteContext(bench.host.alias)
    assert in_processes(6, context) == [b"hi\n"] * 6
    assert context.connection.transport.session_limiter.limit == 1
    assert RemoteFileSystem(bench.host.alias).exists("/")
    outcome, seen = bench.run("sleep 1; echo done")
    assert (outcome.state, seen) == ("succeeded", b"done\n")
    assert bench.host.accepted_logins() == 1


def test_sessions_are_given_first_come_first_served(tmp_path):
    limiter = SessionLimiter(tmp_path, "key", 1)
    deadline = time.monotonic() + 20
    slot = limiter.acquire(deadline=deadline, host="h")
    order = fork.Queue()

    def wait(number: int) -> None:
        own = limiter.acquire(deadline=deadline, host="h")
        order.put(number)
        own.release(remove=True)

    waiters = []
    for number in range(5):
        waiters.append(fork.Process(target=wait, args=(number,)))
        waiters[-1].start()
        processes.wait_until(lambda: len(list(tmp_path.glob("*.wait.*"))) == len(waiters), "the next in the queue")
    # a killed process does not block the others
    waiters[1].kill()
    slot.release(remove=True)
    assert [order.get(timeout=20) for _ in range(4)] == [0, 2, 3, 4]
    for waiter in waiters:
        waiter.join(20)
    limiter.sweep()
    assert list(tmp_path.iterdir()) == []
