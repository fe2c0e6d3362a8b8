"""Both transports: the connection breaks, is silent, is closed or idle."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

import luigi.configuration
import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, ConnectionLost, HostUnreachable
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.control_master import break_connection
from support.settings import both_transports, configure

pytestmark = both_transports


@pytest.mark.core
@pytest.mark.needs("silent rc file")
def test_a_broken_connection_raises_and_the_next_command_reconnects(host, context):
    context.check_output(["true"])
    logins = host.accepted_logins()
    breaking = threading.Thread(
        target=lambda: (
            processes.wait_until(lambda: any(args == "sleep 4322" for _, args in host.processes()), "the command"),
            break_connection(context),
        )
    )
    breaking.start()
    with pytest.raises(ConnectionLost):
        context.check_output(["echo half; exec sleep 4322"])
    breaking.join()
    assert context.check_output(["echo again"]) == b"again\n"
    assert host.accepted_logins() == logins + 1
    for pid in [pid for pid, args in host.processes() if args == "sleep 4322"]:
        host.run("kill", str(pid))


def test_a_cut_connection_fails_streams_and_does_not_affect_jobs(proxy, bench, folder):
    host = bench.host
    job = bench.submit(f"while ! [ -e {folder}/go ]; do echo on; sleep 0.1; done; echo last").job
    seen = bytearray()
    outcomes = []
    watcher = threading.Thread(
        target=lambda: outcomes.append(bench.monitor.wait(job, lambda observation: seen.extend(observation.log)))
    )
    watcher.start()
    processes.wait_until(lambda: b"on\n" in seen, "the job")
    host.run("sh", "-c", f"head -c 50000000 /dev/zero >{folder}/long")
    reader = RemoteTarget(f"{folder}/long", host.alias, format=luigi.format.Nop).open()
    writer = RemoteTarget(f"{folder}/cut", host.alias, format=luigi.format.Nop).open("w")
    assert len(reader.read(1000)) == 1000
    writer.write(bytes(1 << 20))
    proxy.cut()
    with pytest.raises(ConnectionFailed):
        reader.read()
    with pytest.raises(ConnectionFailed):
        writer.write(bytes(50_000_000))
    writer.abort()
    host.run("touch", f"{folder}/go")
    watcher.join(60)
    assert outcomes[0].succeeded
    assert bytes(seen) == host.run("cat", f"{job.directory}/log").encode()
    assert not RemoteTarget(f"{folder}/cut", host.alias).exists()


def test_a_connection_that_breaks_while_a_file_is_opened_is_restored(proxy, luigi_cfg, folder, host, context):
    """Nothing was read or written yet, as when the master has just ended."""
    target = RemoteTarget(f"{folder}/it", host.alias)

    def write() -> None:
        with target.open("w") as writer:
            writer.write("whole")

    def read() -> None:
        with target.open() as reader:
            assert reader.read() == "whole"

    write()
    for action in (write, read):
        for sent in (1, 100, 250, 400):
            context.check_output(["true"])
            logins = host.accepted_logins()
            proxy.cut_after(sent=sent)
            action()
            assert host.accepted_logins() == logins + 1


def test_truncated_output_is_never_returned_as_complete(proxy, context):
    command = ["head -c 300000 /dev/zero"]
    context.check_output(command)
    sizes = []
    for _ in range(3):
        before = proxy.received
        context.check_output(command)
        sizes.append(proxy.received - before)
    # a measurement may include the end of the previous command
    size, lost = min(sizes), 0
    for left in (size // 2, 1000, 300, 200, 150, 100, 80, 60, 40, 20):
        proxy.cut_after(received=size - left)
        try:
            assert len(context.check_output(command)) == 300_000
        except ConnectionLost:
            lost += 1
        proxy.cut()
        processes.wait_until(lambda: proxy.connections == 0, "the end of the connection")
        context.close()
        context.check_output(["true"])
    assert lost > 2


def test_keepalives_end_a_silent_connection(proxy, luigi_cfg, context, host):
    configure(keepalive_interval=1, keepalive_count=2)
    context.check_output(["true"])
    process = context.Popen(["echo begun; sleep 300"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    proxy.silence()
    since = time.monotonic()
    assert process.communicate()[0] == b""
    assert isinstance(context.connection.transport.process_error(process, ""), ConnectionLost)
    assert time.monotonic() - since < 20
    proxy.restore()
    assert context.check_output(["echo on"]) == b"on\n"
    for pid in [pid for pid, args in host.processes() if args == "sleep 300"]:
        host.run("kill", str(pid))


@pytest.mark.alone
def test_requests_to_a_silent_host_time_out(proxy, luigi_cfg, host):
    configure(request_timeout=1)
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    proxy.silence()
    since = time.monotonic()
    with pytest.raises(HostUnreachable, match="did not respond in time"):
        files.exists("/")
    with pytest.raises(HostUnreachable):
        files.reader("/etc/passwd")
    assert time.monotonic() - since < 15
    proxy.restore()
    configure(request_timeout=60)
    assert files.exists("/")


def test_exit_does_not_wait_for_a_login(luigi_cfg, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        alias = f"Host silent\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n"
        (tmp_path / "config").write_text(alias)
        configure(ssh_config=tmp_path / "config", connect_timeout=30, connect_attempts=1)
        context = RemoteContext("silent")
        failed = []

        def run() -> None:
            try:
                context.check_output(["true"])
            except ConnectionFailed as error:
                failed.append(error)

        running = threading.Thread(target=run)
        running.start()
        login, _ = silent.accept()
        began = time.monotonic()
        close_shells(1.0)
        context.close()
        took = time.monotonic() - began
        login.close()
        running.join(20)
    assert took < 5, f"it took {took:.1f} s"
    assert len(failed) == 1


def test_a_closed_connection_is_reopened_on_demand(host, context):
    for _ in range(2):
        before = host.accepted_logins()
        assert context.check_output(["echo in"]) == b"in\n"
        assert host.accepted_logins() == before + 1
        context.close()


def test_an_idle_connection_ends(proxy, context):
    configure(control_persist=2)
    # used for longer than that
    context.check_output(["sleep 3"])
    assert proxy.connections == 1
    processes.wait_until(lambda: proxy.connections == 0, "the end of the unused connection")
