"""Errors of connections, and output that is not an error."""

from __future__ import annotations

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import (
    ConfigurationError,
    HostUnreachable,
    LocalResourceError,
    LoginMisconfigured,
    LoginRefused,
)
from luigi_sshjob.ssh.transports.error_mapping import login_error
from luigi_sshjob.ssh.transports.login import LoginFailures

from support.settings import both_transports, configure


@pytest.mark.parametrize(
    ("stderr", "code", "kind"),
    [
        ("The ECDSA host key for [box]:22 has changed", "host-key-changed", LoginRefused),
        ("Host key verification failed.", "host-key-unknown", LoginRefused),
        ("ssh: Could not resolve hostname box: Name or service not known", "name-unknown", LoginRefused),
        ("ssh: Could not resolve hostname box: Try again", "name-service-unavailable", HostUnreachable),
        ("job@box: Permission denied (publickey).", "authentication-failed", LoginRefused),
        ("/home/me/.ssh/config: line 3: Bad configuration option: hst", "invalid-ssh-config", LoginMisconfigured),
        ("Unable to negotiate with 10.0.0.5 port 22: no matching cipher", "no-common-algorithm", LoginRefused),
        ("the jump host does not connect to box port 22: Connect failed", "jump-host-failed", HostUnreachable),
        ("Bad remote protocol version identification: 'HTTP/1.1'", "not-an-ssh-server", LoginRefused),
        ("kex_exchange_identification: read: Connection reset by peer", "connection-dropped", HostUnreachable),
        ("Connection closed by 10.0.0.5 port 22", "connection-dropped", HostUnreachable),
        ("Connection closed by UNKNOWN port 65535", "proxy-failed", HostUnreachable),
        ("ssh: connect to host box port 22: Connection refused", "connection-refused", HostUnreachable),
        ("ssh: connect to host box port 22: Connection timed out", "no-response", HostUnreachable),
        ("ssh: fork: Resource temporarily unavailable", "local-limit", LocalResourceError),
        ("socket: Too many open files", "local-limit", LocalResourceError),
        ("channel 0: open failed: connect failed: Too many open files", "connection-refused", HostUnreachable),
        ("-bash: fork: retry: Resource temporarily unavailable", "connection-failed", HostUnreachable),
        ("", "connection-failed", HostUnreachable),
    ],
)
def test_the_stderr_of_ssh_determines_the_code_and_class_of_an_error(tmp_path, stderr, code, kind):
    error = login_error(stderr, Destination("box"))
    assert (error.code, type(error)) == (code, kind)
    failures = LoginFailures(tmp_path / "box.failed", "box")
    failures.record(error)
    if kind in (LocalResourceError, LoginMisconfigured):
        # nothing was sent to the host, so it need not be spared
        failures.wait_or_raise(0)
        return
    # other processes get the same error
    with pytest.raises(kind if kind is LoginRefused else HostUnreachable) as caught:
        failures.wait_or_raise(0)
    assert (caught.value.code, caught.value.problem) == (code, error.problem)


@pytest.mark.alone
@pytest.mark.needs_docker
def test_requests_to_a_paused_host_time_out(host, luigi_cfg):
    configure(request_timeout=1)
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    host.pause()
    try:
        with pytest.raises(HostUnreachable, match="did not respond in time"):
            files.exists("/")
    finally:
        host.unpause()
    configure(request_timeout=60)
    assert files.exists("/")


@both_transports
def test_output_of_rc_files_is_ignored(host, luigi_cfg):
    saved = host.run("sh", "-c", "cat .bashrc 2>/dev/null || true")
    host.run("sh", "-c", "{ echo 'echo welcome; echo careful >&2'; cat; } >.bashrc", input=saved)
    try:
        target = RemoteTarget("~/noise", host.alias)
        with target.open("w") as out:
            out.write("quiet\n")
        assert host.run("cat", "noise") == "quiet\n"
        assert target.open().read() == "quiet\n"
        assert target.exists()
    finally:
        host.run("sh", "-c", "cat >.bashrc; rm -f noise", input=saved)


def test_stderr_of_rc_files_is_not_a_failed_login(host, luigi_cfg):
    saved = host.run("sh", "-c", "cat .bashrc 2>/dev/null || true")
    host.run("sh", "-c", "{ echo 'echo x: Permission denied >&2'; cat; } >.bashrc", input=saved)
    try:
        files = RemoteFileSystem(host.alias)
        assert files.exists("/")
        shells = [pid for pid, args in host.processes() if args == "/bin/sh -s"]
        host.run("kill", "-9", *map(str, shells))
        assert files.exists("/")
    finally:
        host.run("sh", "-c", "cat >.bashrc", input=saved)


@both_transports
@pytest.mark.needs("bash")
@pytest.mark.needs_docker
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("read -r answer", "reads the standard input of sessions"),
        ("cat >/dev/null", "reads the standard input of sessions"),
        ("exit 3", "its session exited with status 3: no output"),
        ("exec busybox sh", ""),
        ("exec cat", "starts another program"),
    ],
)
def test_an_rc_file_that_prevents_commands_is_named_as_the_cause(host, luigi_cfg, line, words):
    saved = host.run("cat", ".bashrc")
    host.run("sh", "-c", f"echo {line!r} >.bashrc")
    try:
        configure(request_timeout=3)
        context = RemoteFileSystem(host.alias)
        if not words:
            assert context.exists("/")
            return
        with pytest.raises(LoginRefused, match=words) as caught:
            context.exists("/")
        assert caught.value.host == host.alias
        assert "rc files of the account" in caught.value.next_step
    finally:
        host.run("sh", "-c", "cat >.bashrc", input=saved)


@both_transports
@pytest.mark.needs_docker
def test_an_account_without_a_shell_is_reported(host, luigi_cfg):
    host.run("usermod", "-s", "/usr/sbin/nologin", host.username, user="root")
    try:
        with pytest.raises(LoginRefused, match=r"no login shell[\s\S]*currently not available[\s\S]*Next: ask"):
            RemoteFileSystem(host.alias).exists("/")
    finally:
        host.run("usermod", "-s", "/bin/bash", host.username, user="root")


@both_transports
@pytest.mark.needs_docker
@pytest.mark.parametrize(("command", "stderr"), [("echo for backups only", "for backups only"), ("internal-sftp", "")])
def test_a_forced_command_is_reported(special_bench, command, stderr):
    host = special_bench().host
    host.configure_sshd(f"ForceCommand {command}")
    with pytest.raises(
        LoginRefused, match=rf"{host.alias}, while opening a session: .*{stderr}[\s\S]*Next: .*ForceCommand"
    ):
        RemoteFileSystem(host.alias).exists("/")


@both_transports
@pytest.mark.needs_docker
def test_a_session_that_ends_before_its_request_is_sent_is_no_lost_connection(special_bench, monkeypatch):
    host = special_bench().host
    host.configure_sshd("ForceCommand echo for backups only")
    kind = type(RemoteContext(host.alias).connection.transport)
    popen = kind.popen

    def ended(*args, **kwargs):
        process = popen(*args, **kwargs)
        process.wait(10)
        return process

    monkeypatch.setattr(kind, "popen", ended)
    with pytest.raises(LoginRefused, match="exited with status 0: for backups only"):
        RemoteFileSystem(host.alias).exists("/")


@both_transports
def test_a_missing_key_file_is_reported(host, luigi_cfg):
    with pytest.raises(ConfigurationError, match="key file not found: /nokey"):
        RemoteContext(host.alias, key_file="/nokey").check_output(["true"])
