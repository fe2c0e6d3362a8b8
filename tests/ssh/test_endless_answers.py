"""A host that never ends what it sends costs bounded memory and time, and the error names the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from luigi_sshjob import errors
from luigi_sshjob.destination import Destination
from luigi_sshjob.ssh.connection import connection_to

from support import processes
from support.settings import both_transports, configure

_CLIENT = """
import sys
from luigi_sshjob import RemoteContext, errors
try:
    print(RemoteContext(sys.argv[1]).connection.request(*sys.argv[2:]))
except errors.SSHJobError as error:
    print(type(error).__name__, error.code, error.host)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
# Bytes on this machine that the client may use at most, also for the copy of a response that is parsed.
_MEMORY = 300 << 20


def _client(host, *request):
    """Sends a request from another process; returns the error and the peak memory in bytes."""
    argv = [sys.executable, "-c", _CLIENT, host.alias, *request]
    output = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    *lines, peak = output.splitlines()
    return "\n".join(lines), int(peak) * 1024


@pytest.fixture
def rc_file(host):
    """Sets the rc file of the account, which each session reads."""
    path = f"{host.home}/.bashrc"
    before = host.run("cat", path)
    yield lambda text: host.run("sh", "-c", f"cat >{path}", input=f"{text}\n{before}")
    host.run("sh", "-c", f"cat >{path}", input=before)


@both_transports
def test_a_response_without_an_end_is_an_error_in_bounded_memory(host, luigi_cfg):
    endless = ("eval", "while cat /bin/sh; do :; done")
    with pytest.raises(errors.InvalidResponse, match="the host sent more than a response may contain"):
        connection_to(_destination(host)).request(*endless)
    error, memory = _client(host, *endless)
    assert error == f"InvalidResponse response-too-large {host.alias}"
    assert memory < _MEMORY


@pytest.mark.needs("bash")
@both_transports
def test_rc_files_that_print_without_an_end_are_an_error_in_bounded_memory(host, luigi_cfg, rc_file):
    rc_file("while :; do echo y; done")
    error, memory = _client(host, "echo_back", "x")
    assert error == f"InvalidResponse response-too-large {host.alias}"
    assert memory < _MEMORY


@both_transports
def test_endless_stderr_is_neither_kept_nor_in_the_way(host, luigi_cfg, context):
    """Of stderr the beginning and the end are kept; the session goes on."""
    line = "echo begin >&2; head -c 50000000 /dev/zero >&2; echo end >&2; echo done; cat"
    session = context.connection.session(line)
    assert session.read(10, deadline=time.monotonic() + 60) == b"done\n"
    session.close()
    text = session.stderr_text()
    assert text.startswith("begin\n")
    assert text.endswith("end\n")
    assert len(text) < 100_000


@both_transports
def test_a_byte_now_and_then_does_not_keep_a_request_alive(host, luigi_cfg):
    """A response has a longest time, also while bytes arrive; then the shell on the host ends."""
    configure(request_timeout=0.5)
    with pytest.raises(errors.ConnectionLost) as caught:
        connection_to(_destination(host)).request("eval", "while :; do printf x; sleep 0.1; done", idempotent=False)
    assert caught.value.code == "timeout"
    processes.wait_until(lambda: "/bin/sh -s" not in [args for _, args in host.processes()], "the end of the shell")


@pytest.mark.needs("bash")
@both_transports
def test_rc_files_that_print_a_byte_now_and_then_do_not_keep_a_session_alive(host, luigi_cfg, rc_file):
    rc_file("while :; do printf x; sleep 0.1; done")
    configure(request_timeout=2)
    began = time.monotonic()
    with pytest.raises(errors.ConnectionFailed):
        connection_to(_destination(host)).session("cat")
    assert time.monotonic() - began < 20


def test_a_login_that_prints_without_an_end_costs_bounded_memory_and_disk(host, luigi_cfg, tmp_path, monkeypatch):
    """The ssh of this test prints as fast as it can until it is ended by the timeout of the login."""
    program = tmp_path / "ssh"
    endless = "while head -c 100000 /dev/zero; do sleep 0.02; done >&2"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" -G "*) exec {shutil.which("ssh")} "$@" ;; esac\n{endless}\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with luigi_cfg.path.open("a") as file:
        file.write("connect_timeout=4\nrequest_timeout=2\n")
    error, memory = _client(host, "echo_back", "x")
    assert host.alias in error
    assert memory < _MEMORY
    sizes = {path.name: path.stat().st_size for path in luigi_cfg.runtime_dir.iterdir()}
    assert max(sizes.values()) < 8 << 20, sizes


def _destination(host):
    return Destination.parse(host.alias, {})
