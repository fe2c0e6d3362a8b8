"""What every transport does the same: commands, streams, files, ends of the connection, forks.

See test_contract_tunnels.py and test_contract_logins.py, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time

import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import ConnectionFailed, ConnectionLost, HostUnreachable, RemoteCommandFailed
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.control_master import break_connection
from support.settings import both_transports, configure

pytestmark = both_transports
fork = multiprocessing.get_context("fork")


def in_child(function) -> None:
    """Runs it in a forked process, as Luigi does with a task; fails where it failed."""
    child = fork.Process(target=function)
    child.start()
    child.join(60)
    assert child.exitcode == 0


# -- commands


def test_a_commands_output_is_its_bytes_and_its_failure_says_why(context, capsys):
    assert context.check_output([r"printf 'a\000\377\n'; echo aside >&2"]) == b"a\0\xff\n"
    assert "aside" in capsys.readouterr().err
    with pytest.raises(RemoteCommandFailed, match="the reason") as failed:
        context.check_output(["echo half; echo the reason >&2; exit 7"])
    assert (failed.value.returncode, failed.value.output) == (7, b"half\n")


def test_words_are_joined_for_the_login_shell(context):
    assert context.check_output(["echo hi |", "tr", "h", "H"]) == b"Hi\n"
    assert context.check_output(context.quoted("printf", "%s", "a'; echo $x 日本\n")).decode() == "a'; echo $x 日本\n"


@pytest.mark.core
def test_every_exit_status_is_the_commands_own(host, context):
    context.check_output(["true"])
    logins = host.accepted_logins()
    for status in (1, 126, 127, 254, 255):
        with pytest.raises(RemoteCommandFailed) as failed:
            context.check_output([f"exit {status}"])
        assert failed.value.returncode == status
    assert host.accepted_logins() == logins


def test_a_signal_ends_a_command_and_not_the_connection(host, context):
    context.check_output(["true"])
    logins = host.accepted_logins()
    with pytest.raises(RemoteCommandFailed) as failed:
        context.check_output(["sh -c 'kill -TERM $$'; exit $?"])
    assert failed.value.returncode == 128 + signal.SIGTERM
    # the server says so of the login shell itself, which has no status then
    with pytest.raises(RemoteCommandFailed) as failed:
        context.check_output(["echo before; kill -KILL $$"])
    assert (failed.value.returncode, failed.value.output) == (255, b"before\n")
    assert context.check_output(["echo on"]) == b"on\n"
    assert host.accepted_logins() == logins


@pytest.mark.core
@pytest.mark.needs("sh as login shell", "silent rc file")
def test_much_output_arrives_whole_on_both_streams(context):
    size = 30_000_000
    command = f"yes out | head -c {size}; yes err | head -c {size} >&2"
    process = context.Popen([command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert (len(output), len(errors), process.returncode) == (size, size, 0)
    assert output == (b"out\n" * (size // 4 + 1))[:size]
    assert errors == (b"err\n" * (size // 4 + 1))[:size]


def test_streams_may_be_files_and_one_may_go_with_the_other(context, tmp_path):
    with (tmp_path / "out").open("wb") as out:
        process = context.Popen(["echo one; echo two >&2; cat"], stdout=out, stderr=subprocess.STDOUT)
        assert process.wait() == 0
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"
    with (tmp_path / "out").open("rb") as source:
        process = context.Popen(
            ["cat; echo three >&2"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.communicate() == (b"one\ntwo\n", None)


@pytest.mark.core
@pytest.mark.needs("silent rc file", "second session")
def test_standard_input_streams_both_ways_and_ends_when_it_is_closed(context):
    with context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        for line in (b"first\n", b"second\n"):
            process.stdin.write(line)
            assert process.stdout.read(len(line)) == line
        assert process.poll() is None
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(20) == 0
    sent = os.urandom(1 << 20) * 8
    process = context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert hashlib.sha256(process.communicate(sent)[0]).digest() == hashlib.sha256(sent).digest()


def test_a_popen_is_text_where_it_is_asked_to_be(context):
    process = context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.communicate("日本\n") == ("日本\n", None)


def test_nobodys_standard_input_is_empty(context):
    assert context.check_output(["cat; echo end"]) == b"end\n"


def test_a_wait_ends_with_its_time_and_a_kill_with_the_session(host, context):
    process = context.Popen(["cat; sleep 4321"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.kill()
    assert process.wait(10) != 0
    assert process.stdout.read() == b""
    process.stdin.close()
    process.stdout.close()
    for pid in [pid for pid, args in host.processes() if args == "sleep 4321"]:
        host.run("kill", str(pid))


def test_a_command_that_nobody_reads_any_more_ends(host, context):
    process = context.Popen(["yes hereabouts"], stdout=subprocess.PIPE)
    assert process.stdout.read(10)
    process.stdout.close()
    processes.wait_until(lambda: not any("hereabouts" in args for _, args in host.processes()), "the end of yes")
    process.wait(20)


def test_a_writer_to_a_command_that_has_ended_is_told(context):
    process = context.Popen(["true"], stdin=subprocess.PIPE, bufsize=0)
    assert process.wait(20) == 0
    told = 0
    for _ in range(100):
        try:
            process.stdin.write(bytes(1 << 16))
        except BrokenPipeError:
            told += 1
    # a pipe has room for a piece that nobody was there to read
    assert told > 90
    process.stdin.close()


def test_a_terminal_is_asked_for_where_there_is_one(host, luigi_cfg, folder):
    context = RemoteContext(host.alias, tty=True)
    ours, theirs = pty.openpty()
    try:
        on_terminal = context.Popen(["tty"], stdin=theirs, stdout=subprocess.PIPE)
        assert on_terminal.communicate(timeout=20)[0].startswith(b"/dev/pts/")
    finally:
        os.close(ours)
        os.close(theirs)
    assert context.check_output(["test -t 0 || printf 'no\\n'; cat"]) == b"no\n"
    # what we ask ourselves comes back byte by byte all the same
    target = RemoteTarget(f"{folder}/x", host.alias, format=luigi.format.Nop, tty=True)
    with target.open("w") as out:
        out.write(bytes(range(256)) * 1000)
    with target.open() as back:
        assert back.read() == bytes(range(256)) * 1000


# -- files


@pytest.mark.core
@pytest.mark.parametrize("name", ["a'; echo foo", "new\nline 日本"])
def test_files_and_directories_go_there_and_back(host, luigi_cfg, folder, tmp_path, name):
    files = RemoteFileSystem(host.alias)
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_bytes(os.urandom(5_000_000))
    files.put(str(source), f"{folder}/{name}")
    assert files.listdir(f"{folder}/{name}") == [f"{folder}/{name}/{name}"]
    files.get(f"{folder}/{name}/{name}", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (source / name).read_bytes()
    with RemoteTarget(f"{folder}/zipped", host.alias, format=luigi.format.Gzip).open("w") as out:
        out.write(b"of a format's own process")
    with RemoteTarget(f"{folder}/zipped", host.alias, format=luigi.format.Gzip).open() as reader:
        assert reader.read() == b"of a format's own process"


# -- ends of the connection


@pytest.mark.core
@pytest.mark.needs("silent rc file")
def test_a_broken_connection_is_an_error_and_the_next_command_has_another(host, context):
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


def test_a_cut_wire_costs_a_job_nothing_and_a_stream_says_so(proxy, bench, folder):
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


def test_a_connection_that_breaks_while_a_file_is_being_opened_is_made_again(proxy, luigi_cfg, folder, host, context):
    """As when its master has just ended: nothing was read or written yet."""
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


def test_an_output_that_is_cut_short_is_never_taken_for_a_whole_one(proxy, context):
    command = ["head -c 300000 /dev/zero"]
    context.check_output(command)
    answers = []
    for _ in range(3):
        before = proxy.received
        context.check_output(command)
        answers.append(proxy.received - before)
    # the end of the one before may still come in with another
    answer, lost = min(answers), 0
    for left in (answer // 2, 1000, 300, 200, 150, 100, 80, 60, 40, 20):
        proxy.cut_after(received=answer - left)
        try:
            assert len(context.check_output(command)) == 300_000
        except ConnectionLost:
            lost += 1
        proxy.cut()
        processes.wait_until(lambda: proxy.connections == 0, "the end of the connection")
        context.close()
        context.check_output(["true"])
    assert lost > 2


def test_a_silent_wire_is_given_up_by_its_keepalive(proxy, luigi_cfg, context, host):
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
def test_a_question_to_a_silent_host_is_not_waited_for_longer_than_the_setting_says(proxy, luigi_cfg, host):
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


def test_the_end_of_a_process_does_not_wait_for_a_login(luigi_cfg, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        alias = f"Host silent\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n"
        (tmp_path / "config").write_text(alias)
        configure(ssh_config=tmp_path / "config", connect_timeout=30, connect_attempts=1)
        context = RemoteContext("silent")
        failed = []

        def ask() -> None:
            try:
                context.check_output(["true"])
            except ConnectionFailed as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        login, _ = silent.accept()
        began = time.monotonic()
        close_shells(1.0)
        context.close()
        took = time.monotonic() - began
        login.close()
        asking.join(20)
    assert took < 5, f"it took {took:.1f} s"
    assert len(failed) == 1


def test_a_closed_connection_is_made_again_by_who_needs_it(host, context):
    for _ in range(2):
        before = host.accepted_logins()
        assert context.check_output(["echo in"]) == b"in\n"
        assert host.accepted_logins() == before + 1
        context.close()


def test_an_unused_connection_ends_by_itself(proxy, context):
    configure(control_persist=2)
    # longer than that: it is used meanwhile
    context.check_output(["sleep 3"])
    assert proxy.connections == 1
    processes.wait_until(lambda: proxy.connections == 0, "the end of the unused connection")


# -- many


def test_many_processes_at_once_ask_over_one_login(host, luigi_cfg):
    before = host.accepted_logins()
    children = [fork.Process(target=lambda: os._exit(not RemoteFileSystem(host.alias).exists("/"))) for _ in range(12)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 12
    # one more when the process that asks for the others has ended before they had asked
    assert host.accepted_logins() <= before + 3


def test_no_more_sessions_than_allowed_are_open_at_once(host, luigi_cfg, folder, context):
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
def test_a_session_that_the_server_refuses_is_waited_for(special_bench, luigi_cfg):
    bench = special_bench()
    bench.host.configure_sshd("MaxSessions 1")
    context = RemoteContext(bench.host.alias)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(context.check_output(["echo hi"]))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"hi\n"] * 6
    outcome, seen = bench.run("sleep 1; echo done")
    assert (outcome.state, seen) == ("succeeded", b"done\n")
    assert bench.host.accepted_logins() == 1


# -- forks


def test_a_forked_child_never_uses_a_connection_made_before(host, luigi_cfg, folder, context):
    """Parent and child read, write and ask at the same time, with a stream of the parent's open in between."""
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    data = os.urandom(1 << 20) * 20
    host.run("sh", "-c", f"cat >{folder}/data", input=data)
    reader = RemoteTarget(f"{folder}/data", host.alias, format=luigi.format.Nop).open()
    writer = RemoteTarget(f"{folder}/copy", host.alias, format=luigi.format.Nop).open("w")
    head = reader.read(100_000)

    def of_child() -> None:
        assert all(files.exists("/") for _ in range(30))
        for number in range(3):
            assert context.check_output([f"echo {number}"]) == f"{number}\n".encode()
        with RemoteTarget(f"{folder}/data", host.alias, format=luigi.format.Nop).open() as own:
            assert own.read() == data

    child = fork.Process(target=of_child)
    child.start()
    writer.write(head)
    assert all(files.exists("/") for _ in range(30))
    while piece := reader.read(1 << 20):
        writer.write(piece)
    reader.close()
    # also where a child lives on that has a copy of every descriptor
    lingering = fork.Process(target=time.sleep, args=(60,))
    lingering.start()
    writer.close()
    lingering.kill()
    lingering.join()
    child.join(60)
    assert child.exitcode == 0
    with RemoteTarget(f"{folder}/copy", host.alias, format=luigi.format.Nop).open() as copied:
        assert copied.read() == data


def test_a_child_that_ends_does_not_end_its_parents_session(host, context):
    process = context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    for end in (lambda: os._exit(0), lambda: sys.exit(0), lambda: None):
        in_child(end)
        process.stdin.write(b"still\n")
        assert process.stdout.read(6) == b"still\n"
    # a plain fork is no less
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
