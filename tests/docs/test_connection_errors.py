"""Errors of ssh options, logins, sessions and commands; most come before anything is sent to the host."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luigi_sshjob import RemoteContext, config
from luigi_sshjob.cli.commands import ls
from luigi_sshjob.cli.commands.gc import is_old
from luigi_sshjob.cli.parser import create_parser
from luigi_sshjob.destination import Destination
from luigi_sshjob.doctor.runner import inspect_account
from luigi_sshjob.errors import LocalResourceError, SSHJobError
from luigi_sshjob.jobs.names import AttemptName
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.ssh.transports.error_mapping import login_error
from luigi_sshjob.ssh.transports.login import LoginCoordinator
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter

from support import processes
from support.error_producers import Environment, Producer, assert_complete, assert_local_error
from support.settings import configure


def option(**options: Any) -> Producer:
    return lambda _: RemoteContext("box", **options).check_output(["true"])


def command(words: Any) -> Producer:
    return lambda _: RemoteContext("box").check_output(words)


def tunnel(*arguments: Any) -> Producer:
    return lambda _: RemoteContext("box").tunnel(*arguments).__enter__()


def with_settings(producer: Producer, **values: object) -> Producer:
    def produce(env: Environment) -> object:
        configure(**values)
        return producer(env)

    return produce


def without_a_program(env: Environment) -> None:
    env.monkeypatch.setenv("PATH", "")
    command(["true"])(env)


def without_sshpass(env: Environment) -> None:
    env.monkeypatch.delenv("SSHPASS", raising=False)
    option(sshpass=True)(env)


def without_paramiko(env: Environment) -> None:
    env.monkeypatch.setitem(sys.modules, "luigi_sshjob.ssh.transports.paramiko.transport", None)
    option(transport="paramiko")(env)


def without_room(env: Environment) -> None:
    env.monkeypatch.setattr(tempfile, "tempdir", str(env.tmp_path / "missing"))
    command(["true"])(env)


def with_all_sessions_in_use(env: Environment) -> None:
    gate = SessionLimiter(env.tmp_path, "key", 1)
    slot = gate.acquire(deadline=0, host="box")
    try:
        gate.acquire(deadline=0, host="box")
    finally:
        slot.release()


def while_another_logs_in(env: Environment) -> None:
    configure(connect_timeout=1, connect_attempts=1, request_timeout=0.1)
    lock = FileLock(env.tmp_path / "key.lock")
    assert lock.try_acquire()
    try:
        LoginCoordinator(env.tmp_path, "key", Destination("box"), config.get_settings()).ensure(
            lambda: False, lambda: None
        )
    finally:
        lock.release()


def without_a_name_service(_: Environment) -> None:
    # no name service that does not answer can be had env: ssh's words, as it says them
    raise login_error("ssh: Could not resolve hostname box: Temporary failure in name resolution", Destination("box"))


def without_another_login(env: Environment) -> None:
    (env.tmp_path / "ssh_config").write_text("ControlPath ~/nowhere-%C\n")
    configure(existing_master="require", ssh_config=env.tmp_path / "ssh_config")
    with RemoteContext("box").connection.transport.private_copy():
        pass


OF_NO_AGE = AttemptName("Task", 1, collected=True)

ODD_SHELL: Any = SimpleNamespace(
    call=lambda text, deadline: Response(127, b"sh: doctor_facts: not found"), session=SimpleNamespace(host="box")
)


PRODUCERS: list[tuple[str, Producer]] = [
    ("no host was used recently from here", lambda _: ls.run(create_parser().parse_args(["ls"]))),
    ("the age of an attempt is unknown: the host has no stat(1)", lambda _: is_old("box", OF_NO_AGE, 0)),
    ("existing_master is require, so a separate login is not allowed", without_another_login),
    ("the host's /bin/sh cannot run the checks", lambda _: inspect_account(ODD_SHELL, "~", 1)),
    ("cannot create the runtime directory", with_settings(command("true"), runtime_dir="/dev/null/x")),
    ("cannot create the runtime directory", with_settings(command("true"), runtime_dir="~nobody-at-all/x")),
    ("invalid host name", lambda _: RemoteContext("-oProxyCommand=x")),
    ("invalid host name", lambda _: RemoteContext("x\udcff")),
    ("invalid port number", lambda _: RemoteContext("box:0")),
    ("unknown ssh option", option(bogus=1)),
    ("invalid value for ssh option", option(username=["x"])),
    ("invalid integer for ssh option", option(port=float("inf"))),
    ("connect_timeout must not be negative", option(connect_timeout=-1)),
    ("password must be a function", option(password="secret")),
    ("unknown ssh transport", option(transport="telnet")),
    ("the transport paramiko is not installed", without_paramiko),
    ("the transport openssh does not support a password function", option(password=str)),
    ("sshpass is set, but the environment has no SSHPASS", without_sshpass),
    ("key file not found", option(key_file="/nokey")),
    ("invalid ssh configuration", with_settings(command("true"), ssh_config="/nonexistent")),
    (
        "invalid ssh configuration",
        with_settings(command("true"), ssh_config="/nonexistent", transport="paramiko"),
    ),
    ("program not found on this machine", without_a_program),
    ("local operating system error", without_room),
    ("temporary failure in name resolution", without_a_name_service),
    ("cannot connect to the host", lambda _: RemoteContext("127.0.0.1:1").check_output(["true"])),
    ("all sessions on the shared connection stayed in use", with_all_sessions_in_use),
    ("another process has been logging in for too long", while_another_logs_in),
    ("the command must be a str or a list of str, not", command([5])),
    ("the command contains a NUL byte", command("a\0b")),
    ("the command is too long for one command line", command("x" * 131_072)),
    ("invalid port of a tunnel", tunnel(70_000)),
    ("invalid port of a tunnel", tunnel("http")),
    ("invalid remote_host of a tunnel", tunnel(0, 22, "a b")),
]


@pytest.mark.parametrize(("sentence", "produce"), PRODUCERS, ids=[sentence for sentence, _ in PRODUCERS])
def test_a_local_error_comes_before_anything_is_sent(sentence, produce, env):
    assert_local_error(sentence, produce, env)


def test_a_request_that_is_not_idempotent_fails_when_the_leader_ends(env, files):
    ask = f"RemoteFileSystem('{env.host.alias}').exists('/')"
    lead = f"import time; from luigi_sshjob import RemoteFileSystem; {ask}; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", lead], stdin=subprocess.DEVNULL) as leader:

        def end() -> None:
            processes.wait_until(lambda: any("sleep 551" in args for _, args in env.host.processes()), "the request")
            leader.kill()

        runtime = files.remote_context.connection.transport.directory
        processes.wait_until(lambda: bool(list(runtime.glob("*.lead"))), "the leader")
        thread = threading.Thread(target=end)
        thread.start()
        with pytest.raises(SSHJobError) as caught:
            files.remote_context.connection.request("sleep", 551, idempotent=False)
        thread.join()
    assert_complete(caught.value, "the process that held the connection ended before the response arrived")
    env.host.run("sh", "-c", "kill $(pgrep -fx 'sleep 551')", check=False)


@contextlib.contextmanager
def few_descriptors(left: int) -> Iterator[None]:
    """Limit this process to `left` more open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # otherwise garbage of earlier tests would free descriptors in the block
    gc.collect()
    used = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + left, before[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(left):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held:
            os.close(fd)


@pytest.mark.parametrize("left", [1, 4, 5, 6, 7])
def test_running_out_of_file_descriptors_is_an_immediate_error(env, files, left):
    since = time.monotonic()
    with few_descriptors(left), pytest.raises(LocalResourceError) as caught:
        files.exists("/")
    assert time.monotonic() - since < 10
    assert_complete(caught.value, "local operating system error")
    assert "ulimit -n" in caught.value.next_step
    close_shells()
    assert files.exists("/")
