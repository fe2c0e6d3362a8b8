"""Both transports: concurrent processes and threads, and forks."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import luigi.configuration
import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget

from support.settings import both_transports, configure

pytestmark = both_transports
fork = multiprocessing.get_context("fork")


def test_requests_of_concurrent_processes_share_one_login(host, luigi_cfg):
    before = host.accepted_logins()
    children = [fork.Process(target=lambda: os._exit(not RemoteFileSystem(host.alias).exists("/"))) for _ in range(12)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 12
    # one more if the leader ends before the others have sent their requests
    assert host.accepted_logins() <= before + 3


def test_max_sessions_limits_concurrent_sessions(host, luigi_cfg, folder, context):
    configure(max_sessions=2)
    threads = [
        threading.Thread(target=context.check_output, args=([f"echo + >>{folder}/l; sleep 0.3; echo - >>{folder}/l"],))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    open_now = most = 0
    for mark in host.run("cat", f"{folder}/l").split():
        open_now += 1 if mark == "+" else -1
        most = max(most, open_now)
    assert (open_now, most) == (0, 2)


@pytest.mark.needs_docker
def test_commands_wait_when_the_server_refuses_a_session(special_bench, luigi_cfg):
    bench = special_bench()
    bench.host.configure_sshd("MaxSessions 1")
    context = RemoteContext(bench.host.alias)
    outputs = []
    threads = [threading.Thread(target=lambda: outputs.append(context.check_output(["echo hi"]))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [b"hi\n"] * 6
    outcome, seen = bench.run("sleep 1; echo done")
    assert (outcome.state, seen) == ("succeeded", b"done\n")
    assert bench.host.accepted_logins() == 1


def test_a_forked_child_does_not_use_its_parents_connection(host, luigi_cfg, folder, context):
    """Parent and child read, write and send requests concurrently while the parent has open streams."""
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    data = os.urandom(1 << 20) * 20
    host.run("sh", "-c", f"cat >{folder}/data", input=data)
    reader = RemoteTarget(f"{folder}/data", host.alias, format=luigi.format.Nop).open()
    writer = RemoteTarget(f"{folder}/copy", host.alias, format=luigi.format.Nop).open("w")
    head = reader.read(100_000)

    def use_in_child() -> None:
        assert all(files.exists("/") for _ in range(30))
        for number in range(3):
            assert context.check_output([f"echo {number}"]) == f"{number}\n".encode()
        with RemoteTarget(f"{folder}/data", host.alias, format=luigi.format.Nop).open() as own:
            assert own.read() == data

    child = fork.Process(target=use_in_child)
    child.start()
    writer.write(head)
    assert all(files.exists("/") for _ in range(30))
    while piece := reader.read(1 << 20):
        writer.write(piece)
    reader.close()
    # even while a child lives that has a copy of every descriptor
    lingering = fork.Process(target=time.sleep, args=(60,))
    lingering.start()
    writer.close()
    lingering.kill()
    lingering.join()
    child.join(60)
    assert child.exitcode == 0
    with RemoteTarget(f"{folder}/copy", host.alias, format=luigi.format.Nop).open() as copied:
        assert copied.read() == data


def in_child(function) -> None:
    """Run `function` in a forked process, as Luigi runs a task; fails if it fails."""
    child = fork.Process(target=function)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_a_child_that_exits_does_not_end_its_parents_session(host, context):
    process = context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    for end in (lambda: os._exit(0), lambda: sys.exit(0), lambda: None):
        in_child(end)
        process.stdin.write(b"still\n")
        assert process.stdout.read(6) == b"still\n"
    # also with os.fork, not only with multiprocessing
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            context.check_output(["true"])
            process.kill()
        os._exit(0)
    os.waitpid(pid, 0)
    process.stdin.write(b"still\n")
    assert process.stdout.read(6) == b"still\n"
    process.communicate()
    assert process.returncode == 0
