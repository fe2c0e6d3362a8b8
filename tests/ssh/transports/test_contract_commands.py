"""Both transports: commands, their streams and exit statuses, and files."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess

import luigi.configuration
import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import RemoteCommandFailed

from support import processes
from support.settings import both_transports

pytestmark = both_transports


def test_output_is_bytes_and_a_failure_includes_stderr(context, capsys):
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
        assert f"ended with exit status {status}:" in failed.value.problem
    assert host.accepted_logins() == logins


def test_a_signal_ends_a_command_and_not_the_connection(host, context):
    context.check_output(["true"])
    logins = host.accepted_logins()
    with pytest.raises(RemoteCommandFailed) as failed:
        context.check_output(["sh -c 'kill -TERM $$'; exit $?"])
    assert failed.value.returncode == 128 + signal.SIGTERM
    # the server reports the signal only for the login shell itself, which then has no exit status
    with pytest.raises(RemoteCommandFailed) as failed:
        context.check_output(["echo before; kill -KILL $$"])
    assert (failed.value.returncode, failed.value.output) == (255, b"before\n")
    assert "ended by a signal: " in failed.value.problem
    assert context.check_output(["echo on"]) == b"on\n"
    assert host.accepted_logins() == logins


@pytest.mark.core
@pytest.mark.needs("sh as login shell", "silent rc file")
def test_large_output_arrives_completely_on_both_streams(context):
    size = 30_000_000
    command = f"yes out | head -c {size}; yes err | head -c {size} >&2"
    process = context.Popen([command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert (len(output), len(errors), process.returncode) == (size, size, 0)
    assert output == (b"out\n" * (size // 4 + 1))[:size]
    assert errors == (b"err\n" * (size // 4 + 1))[:size]


def test_streams_may_be_files_and_stderr_may_go_to_stdout(context, tmp_path):
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
def test_popen_streams_in_both_directions_and_ends_with_its_input(context):
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


def test_popen_supports_text_mode(context):
    process = context.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.communicate("日本\n") == ("日本\n", None)


def test_standard_input_is_empty_by_default(context):
    assert context.check_output(["cat; echo end"]) == b"end\n"


def test_wait_times_out_and_kill_ends_the_session(context):
    # the command goes on when its input ends
    process = context.Popen(["cat; sleep 5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.kill()
    assert process.wait(10) != 0
    assert process.stdout.read() == b""
    process.stdin.close()
    process.stdout.close()


def test_a_command_ends_when_its_reader_closes_the_pipe(host, context):
    process = context.Popen(["yes hereabouts"], stdout=subprocess.PIPE)
    assert process.stdout.read(10)
    process.stdout.close()
    processes.wait_until(lambda: not any("hereabouts" in args for _, args in host.processes()), "the end of yes")
    process.wait(20)


def test_writing_to_an_ended_command_raises(context):
    process = context.Popen(["true"], stdin=subprocess.PIPE, bufsize=0)
    assert process.wait(20) == 0
    failed = 0
    for _ in range(100):
        try:
            process.stdin.write(bytes(1 << 16))
        except BrokenPipeError:
            failed += 1
    # the first write may still fit into the pipe
    assert failed > 90
    process.stdin.close()


def test_tty_requests_a_terminal_only_if_the_input_is_one(host, luigi_cfg, folder):
    context = RemoteContext(host.alias, tty=True)
    master, terminal = pty.openpty()
    try:
        on_terminal = context.Popen(["tty"], stdin=terminal, stdout=subprocess.PIPE)
        assert on_terminal.communicate(timeout=20)[0].startswith(b"/dev/pts/")
    finally:
        os.close(master)
        os.close(terminal)
    assert context.check_output(["test -t 0 || printf 'no\\n'; cat"]) == b"no\n"
    # this package's own requests still transfer the bytes unchanged
    target = RemoteTarget(f"{folder}/x", host.alias, format=luigi.format.Nop, tty=True)
    with target.open("w") as out:
        out.write(bytes(range(256)) * 1000)
    with target.open() as back:
        assert back.read() == bytes(range(256)) * 1000


@pytest.mark.core
@pytest.mark.parametrize("name", ["a'; echo foo", "new\nline 日本"])
def test_files_and_directories_survive_a_round_trip(host, luigi_cfg, folder, tmp_path, name):
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
