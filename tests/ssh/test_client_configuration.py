"""What of the user's ssh configuration applies to logins, and that none of it reaches commands and jobs."""

from __future__ import annotations

import re
import socket
import time

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import ConfigurationError, HostUnreachable, LoginRefused, SSHJobError
from luigi_sshjob.ssh.transports.openssh.master_login import log_path

from support.control_master import kill_master
from support.parallel import in_processes
from support.settings import add_ssh_config, configure, through_itself

FOR_TERMINALS = """
SendEnv SSHJOB_TEST_*
StdinNull yes
SessionType none
ForkAfterAuthentication yes
RequestTTY force
ForwardAgent yes
ForwardX11 yes
PermitLocalCommand yes
LocalCommand touch {marker}
EscapeChar ~
Tunnel no
"""


def test_options_for_terminals_do_not_reach_commands(host, luigi_cfg, monkeypatch, tmp_path):
    marker = tmp_path / "local-command"
    monkeypatch.setenv("SSHJOB_TEST_LEAK", "leaked")
    monkeypatch.setenv("DISPLAY", ":7")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        add_ssh_config(luigi_cfg, FOR_TERMINALS.format(marker=marker) + "IdentityAgent none")
        context = RemoteContext(host.alias)
        environment = context.check_output(["env; test -t 0 && echo terminal; true"]).decode()
        assert context.check_output(["echo in"]) == b"in\n"
    for word in ("leaked", "SSH_AUTH_SOCK", "DISPLAY", "terminal"):
        assert word not in environment
    assert not marker.exists()


def test_match_exec_runs_once_not_in_each_process_and_for_each_command(host, luigi_cfg, tmp_path):
    add_ssh_config(luigi_cfg, f'Match exec "echo x >>{tmp_path}/ledger"\n  LogLevel ERROR\n')
    context = RemoteContext(host.alias)
    assert in_processes(4, context) == [b"hi\n"] * 4
    # once to see whether the connection may be shared, and once in the login
    assert (tmp_path / "ledger").read_text() == "x\nx\n"
    # as known_hosts and the sockets of connections do in ~/.ssh
    luigi_cfg.path.with_name("unrelated").touch()
    assert in_processes(1, context) == [b"hi\n"]
    assert (tmp_path / "ledger").read_text() == "x\nx\n"


def test_a_hanging_match_exec_does_not_hang_the_process(host, luigi_cfg):
    add_ssh_config(luigi_cfg, 'Match exec "exec sleep 20"\n  LogLevel ERROR\n')
    configure(connect_timeout=1, request_timeout=1)
    since = time.monotonic()
    with pytest.raises(HostUnreachable, match="has not read its configuration in time"):
        RemoteContext(host.alias).check_output(["true"])
    assert time.monotonic() - since < 15


def test_a_change_in_an_included_file_gets_a_new_connection(host, luigi_cfg, tmp_path):
    (tmp_path / "parts").mkdir()
    add_ssh_config(luigi_cfg, f"Include {tmp_path}/parts/*.conf")
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    part = tmp_path / "parts" / "one.conf"
    part.write_text(f"Host {host.alias}\n  HostName no-such-host.invalid\n")
    for text in (part.read_text(), part.read_text().replace("no-such", "other")):
        part.write_text(text)
        (answer,) = in_processes(1, RemoteContext(host.alias))
        assert text.split()[-1].split(".")[0] in str(answer)
    part.write_text("# nothing")
    before = host.accepted_logins()
    assert in_processes(1, RemoteContext(host.alias)) == [b"hi\n"]
    # the connection of the beginning
    assert host.accepted_logins() == before


def test_a_percent_sign_in_our_own_paths_is_not_expanded(host, luigi_cfg, tmp_path):
    folder = tmp_path / "at 100%h"
    folder.mkdir(mode=0o700)
    key = folder / "key"
    key.write_bytes(host.key_file.read_bytes())
    key.chmod(0o600)
    configure(runtime_dir=luigi_cfg.runtime_dir / "%%h")
    context = RemoteContext(host.alias, key_file=str(key))
    try:
        assert context.check_output(["echo in"]) == b"in\n"
    finally:
        context.close()


def test_the_words_of_a_proxy_command_are_in_the_error(host, luigi_cfg):
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  ProxyCommand sh -c 'echo quota exceeded at the gate >&2; exit 3'")
    configure(connect_attempts=1)
    with pytest.raises(HostUnreachable, match="quota exceeded at the gate"):
        RemoteContext(host.alias).check_output(["true"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ProxyCommand no-such-program %h", "the program of the ProxyCommand is missing"),
        ("ProxyCommand nc %h %q", "unknown key %q"),
        ("IdentityFile /keys/%Q", "unknown key %Q"),
    ],
)
def test_an_error_in_the_configuration_is_final_and_named(host, luigi_cfg, line, words):
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  {line}")
    with pytest.raises(ConfigurationError, match=words):
        RemoteContext(host.alias).check_output(["true"])


def test_a_jump_host_that_refuses_is_named_and_quoted(host, luigi_cfg, tmp_path, refused_key):
    path = tmp_path / "refused_config"
    path.write_text(through_itself(host, tmp_path) + path.read_text())
    with pytest.raises(SSHJobError) as caught:
        RemoteContext("through").check_output(["true"])
    assert caught.value.code == "authentication-failed"
    assert f"at {host.username}@" in caught.value.problem
    assert "Permission denied" in caught.value.problem
    assert "UNKNOWN" not in caught.value.problem


@pytest.mark.needs_docker
def test_a_jump_host_that_accepts_passwords_gets_no_attempt(special_bench, luigi_cfg, tmp_path):
    host = special_bench().host
    host.configure_sshd("PasswordAuthentication yes\nKbdInteractiveAuthentication yes", first=True)
    host.run("rm", "-r", ".ssh")
    path = tmp_path / "config"
    path.write_text(through_itself(host, tmp_path) + host.ssh_config.read_text())
    configure(ssh_config=path)
    with pytest.raises(LoginRefused, match=rf"authentication failed at {host.username}@"):
        RemoteContext("through").check_output(["true"])
    assert not re.search("Failed (password|keyboard)", host.log_text())
    # nor was the refused login repeated
    assert host.log_text().count("authenticating user") == 1


def test_the_log_of_a_connection_does_not_grow_without_bound(host, luigi_cfg):
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    log = log_path(context.connection.transport.master.prefix)
    with log.open("ab") as file:
        file.write(b"x" * (1 << 20))
    context.check_output(["true"])
    assert log.stat().st_size < 1 << 16
    # it is written to by the same connection
    before = log.stat().st_size
    context.check_output(["true"])
    assert log.stat().st_size > before
    kill_master(context)
    context.check_output(["true"])
    context.close()
    assert not log.exists()
    assert not list(log.parent.glob("*.config"))
