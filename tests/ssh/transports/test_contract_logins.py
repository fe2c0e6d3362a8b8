"""What every transport does the same: who is let in, and which host is taken for the one that was meant."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from luigi_sshjob import RemoteContext, RemoteTarget
from luigi_sshjob.errors import ConfigurationError, HostUnreachable, LoginRefused

from support import processes
from support.network_proxy import through
from support.settings import both_transports, configure, through_itself

pytestmark = both_transports
fork = multiprocessing.get_context("fork")


def add_config(luigi_cfg, text: str) -> None:
    """Puts `text` before the host's own client configuration."""
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(text + "\nHost *\n" + luigi_cfg.ssh_config.read_text())
    configure(ssh_config=path)


@pytest.fixture
def password_host(special_bench, monkeypatch):
    """An account with a password and no key, and the context that takes it from SSHPASS."""
    host = special_bench().host
    host.run("sh", "-c", "echo 'job:four words of it' | chpasswd && rm -r /home/job/.ssh", user="root")
    host.configure_sshd(
        "PasswordAuthentication yes\nPubkeyAuthentication no\nKbdInteractiveAuthentication no", first=True
    )
    monkeypatch.setenv("SSHPASS", "four words of it")
    return host


@pytest.mark.needs_docker
def test_a_password_comes_from_the_environment_and_is_in_no_argument(password_host, luigi_cfg, tmp_path):
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.update(process.args for process in processes.family(os.getpid()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        context = RemoteContext(password_host.alias, sshpass=True)
        assert context.check_output(["id -un"]) == b"job\n"
        target = RemoteTarget("by-password", password_host.alias, sshpass=True)
        with target.open("w") as out:
            out.write("text")
        assert target.exists()
    finally:
        stop.set()
        looking.join()
    assert len(seen) > 0
    assert not [args for args in seen if "four words" in args]
    assert not [
        path for path in luigi_cfg.runtime_dir.rglob("*") if path.is_file() and b"four words" in path.read_bytes()
    ]


@pytest.mark.needs_docker
def test_a_wrong_password_or_none_is_a_refused_login(password_host, monkeypatch):
    monkeypatch.setenv("SSHPASS", "another")
    with pytest.raises(LoginRefused, match=r"(?i)permission denied|incorrect password"):
        RemoteContext(password_host.alias, sshpass=True).check_output(["true"])
    with pytest.raises(LoginRefused, match=r"(?i)permission denied"):
        RemoteContext(password_host.alias).check_output(["true"])


@pytest.mark.needs_docker
def test_questions_of_the_host_are_answered_as_a_password_is(password_host):
    password_host.configure_sshd("PasswordAuthentication no\nKbdInteractiveAuthentication yes", first=True)
    assert RemoteContext(password_host.alias, sshpass=True).check_output(["id -un"]) == b"job\n"


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """An ssh-agent of the test's own."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    processes.wait_until(path.exists, "the agent")
    yield
    process.terminate()
    process.wait()


def new_key(host, path: Path, kind: str, passphrase: str = "") -> Path:
    """A key that the host lets in."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    host.authorize(path.with_suffix(".pub").read_text())
    return path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_lets_in(host, luigi_cfg, tmp_path, kind):
    key = new_key(host, tmp_path / "key", kind)
    add_config(luigi_cfg, f"Host {host.alias}\n  IdentityFile none\n")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(path.read_text().replace(str(host.key_file), str(key)))
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_an_encrypted_key_lets_in_when_the_agent_has_it(host, luigi_cfg, tmp_path, agent):
    key = new_key(host, tmp_path / "key", "ed25519", "its passphrase")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(luigi_cfg.ssh_config.read_text().replace(str(host.key_file), str(key)))
    configure(ssh_config=path)
    with pytest.raises(LoginRefused, match=r"(?i)permission denied"):
        RemoteContext(host.alias).check_output(["true"])
    answer = tmp_path / "answer"
    answer.write_text("#!/bin/sh\necho its passphrase\n")
    answer.chmod(0o700)
    environment = {**os.environ, "SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", key], env=environment, check=True, stdin=subprocess.DEVNULL)
    # another configuration: of this one the refusal is remembered for a while
    configure(ssh_config=shutil.copy(path, path.with_name("another")))
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_key_that_only_the_agent_has_lets_in(host, luigi_cfg, tmp_path, agent):
    key = new_key(host, tmp_path / "key", "ed25519")
    subprocess.run(["ssh-add", "-q", key], check=True, stdin=subprocess.DEVNULL)
    key.unlink()
    text = luigi_cfg.ssh_config.read_text().replace(f'  IdentityFile "{host.key_file}"\n', "")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(text.replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    configure(ssh_config=path)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


@pytest.mark.parametrize("known", ["changed", "unknown", "revoked"])
def test_a_host_key_that_is_not_the_known_one_lets_nobody_in(host, luigi_cfg, tmp_path, known):
    known_hosts = tmp_path / "known_hosts"
    name, kind, own = host.known_hosts.read_text().split()[:3]
    if known == "changed":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        own = (tmp_path / "other.pub").read_text().split()[1]
    lines = [] if known == "unknown" else [f"{name} {kind} {own}"]
    known_hosts.write_text("\n".join([*lines, *([f"@revoked * {kind} {own}"] if known == "revoked" else [])]) + "\n")
    add_config(luigi_cfg, f"Host {host.alias}\n  UserKnownHostsFile {known_hosts}\n  StrictHostKeyChecking ask")
    before = host.accepted_logins()
    with pytest.raises(LoginRefused, match=r"(?i)changed|verification failed|revoked") as caught:
        RemoteContext(host.alias).check_output(["true"])
    # under the name that it has there
    assert (f"ssh-keygen -R '{name}'" in str(caught.value)) == (known == "changed")
    assert host.accepted_logins() == before
    # unless the user says otherwise, and then nothing is written down
    text = known_hosts.read_text()
    assert RemoteContext(host.alias, no_host_key_check=True).check_output(["echo in"]) == b"in\n"
    assert known_hosts.read_text() == text


def test_a_hashed_known_host_is_known(host, luigi_cfg, tmp_path):
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(host.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known_hosts], check=True, capture_output=True)
    assert host.hostname not in known_hosts.read_text()
    add_config(luigi_cfg, f"Host {host.alias}\n  UserKnownHostsFile {known_hosts}")
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_jump_host_is_gone_through(host, luigi_cfg):
    add_config(luigi_cfg, through_itself(host, luigi_cfg.path.parent))
    configure(control_persist=2)
    before = host.accepted_logins()
    context = RemoteContext("through")
    assert context.check_output(["echo in"]) == b"in\n"
    assert len(context.check_output(["head -c 5000000 /dev/zero"])) == 5_000_000
    # used for longer than an unused connection lives, the one to the jump host too
    assert context.check_output(["sleep 4; echo still in"]) == b"still in\n"
    assert host.accepted_logins() == before + 2
    context.close()


def test_a_proxy_command_is_gone_through_and_ends_with_the_connection(host, luigi_cfg, tmp_path):
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, select, socket, sys\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    for fd in select.select([0, s], [], [])[0]:\n"
        "        data = os.read(fd if fd == 0 else s.fileno(), 65536)\n"
        "        if not data: sys.exit()\n"
        "        s.sendall(data) if fd == 0 else os.write(1, data)\n"
    )
    add_config(luigi_cfg, f"Host {host.alias}\n  ProxyCommand {sys.executable} {relay} %h %p")
    context = RemoteContext(host.alias)
    assert context.check_output(["echo in"]) == b"in\n"
    relays = [process.pid for process in processes.running() if str(relay) in process.args]
    assert relays
    context.close()
    processes.wait_until(lambda: not any(map(processes.alive, relays)), "the end of the proxy command")
    add_config(luigi_cfg, f"Host {host.alias}\n  ProxyCommand echo no way >&2; exit 1")
    with pytest.raises(HostUnreachable):
        RemoteContext(host.alias).check_output(["true"])


def test_a_name_that_does_not_resolve_and_a_closed_port_are_told_apart(luigi_cfg):
    with pytest.raises(LoginRefused, match=r"no-such-host.invalid[\s\S]*Next: check the spelling"):
        RemoteContext("no-such-host.invalid").check_output(["true"])
    configure(connect_attempts=2)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(HostUnreachable, match="refused"):
            RemoteContext("127.0.0.1", port=reserved.getsockname()[1]).check_output(["true"])


def test_a_failed_login_is_one_try_for_all_who_wait(host, luigi_cfg, tmp_path):
    other = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    path = tmp_path / "refused_config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), str(other)))
    configure(ssh_config=path)
    log = len(host.log_text())

    def try_it() -> None:
        with pytest.raises(LoginRefused, match="Permission denied"):
            RemoteContext(host.alias).check_output(["true"])

    children = [fork.Process(target=try_it) for _ in range(6)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 6
    assert len(re.findall("Connection from ", host.log_text()[log:])) == 1


def test_a_configuration_that_cannot_be_read_is_said(luigi_cfg, tmp_path):
    configure(ssh_config=tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="missing"):
        RemoteContext("box").check_output(["true"])


def test_the_way_through_a_proxy_of_the_tests_is_the_same_host(proxy, host, luigi_cfg):
    """HostKeyAlias and Port, from a configuration of the user's."""
    path = luigi_cfg.path.with_name("config")
    path.write_text(through(proxy, host.ssh_config, host.port))
    configure(ssh_config=path)
    sent = proxy.sent
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    assert proxy.sent > sent
