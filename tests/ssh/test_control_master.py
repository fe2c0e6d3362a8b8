"""The shared connection of OpenSSH: its clients, tunnels and end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.errors import ConnectionFailed
from luigi_sshjob.ssh.transports.openssh import master_login

from support import processes
from support.control_master import master_pid
from support.settings import configure

fork = multiprocessing.get_context("fork")


def test_a_client_without_a_master_fails_instead_of_logging_in(host, luigi_cfg):
    context = RemoteContext(host.alias)
    command = context._prepare_cmd(["echo in"])
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"in\n"
    context.close()
    before = host.accepted_logins()
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (255, b"")
    assert host.accepted_logins() == before


def test_a_stopped_or_busy_master_counts_as_alive(host, luigi_cfg):
    """Otherwise the next process would log in again and replace its socket."""
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    master, pid = context.connection.transport.master, master_pid(context)
    identity = master.identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        # more than the backlog of its socket
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        for each in waiting:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(master.control_path)
        assert master.alive()
        assert master.identity() == identity
        begin = time.monotonic()
        with master.keep_open():
            assert time.monotonic() - begin < 10
    finally:
        for each in waiting:
            each.close()
        os.kill(pid, signal.SIGCONT)
    assert context.check_output(["echo on"]) == b"on\n"


def test_a_forked_child_does_not_use_its_parents_session(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert not files.exists("nothing")
    results = fork.Queue()
    child = fork.Process(target=lambda: results.put([files.exists("/") for _ in range(50)]))
    child.start()
    assert not any(files.exists("nothing") for _ in range(50))
    assert all(results.get(timeout=30))
    child.join(30)


@pytest.mark.core
def test_a_tunnel_uses_the_existing_connection(host, luigi_cfg):
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    before = host.accepted_logins()
    inside = 22 if host.kind == "docker" else host.port
    with context.tunnel(0, inside, "127.0.0.1") as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as through:
            assert through.recv(4) == b"SSH-"
        with pytest.raises(ConnectionFailed, match="check that the local port is free"), context.tunnel(port, inside):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    assert host.accepted_logins() == before


def test_an_idle_tunnel_stays_open(host, luigi_cfg):
    configure(control_persist=2)
    inside = 22 if host.kind == "docker" else host.port
    with RemoteContext(host.alias).tunnel(0, inside, "127.0.0.1") as port:
        time.sleep(4)  # longer than an idle master lives
        with socket.create_connection(("127.0.0.1", port), timeout=10) as through:
            assert through.recv(4) == b"SSH-"


def test_an_idle_master_ends(host, luigi_cfg):
    configure(control_persist=3)
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    pid = master_pid(context)
    processes.wait_until(lambda: not processes.alive(pid), "the end of the unused master")
    assert not Path(context.connection.transport.master.control_path).exists()


@pytest.mark.parametrize(
    ("timeout", "command", "status"), [("60", "exit 7", 7), ("60", "kill -9 $$", 137), ("0.1", "exec sleep 60", 1)]
)
def test_the_login_wrapper_needs_no_package_and_returns_the_status_or_times_out(tmp_path, timeout, command, status):
    path = shutil.copy(master_login._LOGIN_WRAPPER, tmp_path)
    argv = [sys.executable, "-I", "-S", path, timeout, "sh", "-c", f"exec sh -c '{command}'"]
    assert subprocess.run(argv, cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == status
