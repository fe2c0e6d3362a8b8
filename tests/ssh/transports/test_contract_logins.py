"""Both transports: authentication, host keys, and ways to reach a host."""

from __future__ import annotations

import multiprocessing
import os
import re
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
from support.parallel import in_processes
from support.settings import add_ssh_config, both_transports, configure, through_itself

pytestmark = both_transports
fork = multiprocessing.get_context("fork")


@pytest.fixture
def password_host(special_bench, monkeypatch):
    """A host whose account has a password and no key; SSHPASS has the password."""
    host = special_bench().host
    host.run("sh", "-c", "echo 'job:four words of it' | chpasswd && rm -r /home/job/.ssh", user="root")
    host.configure_sshd(
        "PasswordAuthentication yes\nPubkeyAuthentication no\nKbdInteractiveAuthentication no", first=True
    )
    monkeypatch.setenv("SSHPASS", "four words of it")
    return host


@pytest.mark.needs_docker
def test_the_password_is_in_no_argument_list(password_host, luigi_cfg, tmp_path):
    seen, stop = set(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(process.args for process in processes.family(os.getpid()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        context = RemoteContext(password_host.alias, sshpass=True)
        assert context.check_output(["id -un"]) == b"job\n"
        target = RemoteTarget("by-password", password_host.alias, sshpass=True)
        with target.open("w") as out:
            out.write("text")
        assert target.exists()
    finally:
        stop.set()
        watching.join()
    assert len(seen) > 0
    assert not [args for args in seen if "four words" in args]
    assert not [
        path for path in luigi_cfg.runtime_dir.rglob("*") if path.is_file() and b"four words" in path.read_bytes()
    ]


@pytest.mark.needs_docker
def test_a_wrong_or_missing_password_is_refused(password_host, monkeypatch):
    monkeypatch.setenv("SSHPASS", "another")
    with pytest.raises(LoginRefused, match=r"(?i)permission denied|incorrect password"):
        RemoteContext(password_host.alias, sshpass=True).check_output(["true"])
    with pytest.raises(LoginRefused, match=r"(?i)permission denied"):
        RemoteContext(password_host.alias).check_output(["true"])


@pytest.mark.needs_docker
def test_sshpass_responds_to_keyboard_interactive_prompts(password_host):
    password_host.configure_sshd("PasswordAuthentication no\nKbdInteractiveAuthentication yes", first=True)
    assert RemoteContext(password_host.alias, sshpass=True).check_output(["id -un"]) == b"job\n"


def new_key(host, path: Path, kind: str, passphrase: str = "") -> Path:
    """A key that the host accepts."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True)
    host.authorize(path.with_suffix(".pub").read_text())
    return path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_each_key_type_is_accepted(host, luigi_cfg, tmp_path, kind):
    key = new_key(host, tmp_path / "key", kind)
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  IdentityFile none\n")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(path.read_text().replace(str(host.key_file), str(key)))
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_an_encrypted_key_works_through_the_agent(host, luigi_cfg, tmp_path, agent):
    key = new_key(host, tmp_path / "key", "ed25519", "its passphrase")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(luigi_cfg.ssh_config.read_text().replace(str(host.key_file), str(key)))
    configure(ssh_config=path)
    with pytest.raises(LoginRefused, match=r"(?i)permission denied"):
        RemoteContext(host.alias).check_output(["true"])
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho its passphrase\n")
    askpass.chmod(0o700)
    environment = {**os.environ, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", key], env=environment, check=True, stdin=subprocess.DEVNULL)
    # another configuration, because the refusal of this one is remembered for a while
    another = path.with_name("another")
    another.write_text(f"{path.read_text()}  ServerAliveInterval 7\n")
    configure(ssh_config=another)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_a_key_that_only_the_agent_has_works(host, luigi_cfg, tmp_path, agent):
    key = new_key(host, tmp_path / "key", "ed25519")
    subprocess.run(["ssh-add", "-q", key], check=True, stdin=subprocess.DEVNULL)
    key.unlink()
    text = luigi_cfg.ssh_config.read_text().replace(f'  IdentityFile "{host.key_file}"\n', "")
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(text.replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    configure(ssh_config=path)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


@pytest.mark.parametrize("known", ["changed", "unknown", "revoked"])
def test_unknown_changed_and_revoked_host_keys_are_refused(host, luigi_cfg, tmp_path, known):
    known_hosts = tmp_path / "known_hosts"
    name, kind, own = host.known_hosts.read_text().split()[:3]
    if known == "changed":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
        own = (tmp_path / "other.pub").read_text().split()[1]
    lines = [] if known == "unknown" else [f"{name} {kind} {own}"]
    known_hosts.write_text("\n".join([*lines, *([f"@revoked * {kind} {own}"] if known == "revoked" else [])]) + "\n")
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  UserKnownHostsFile {known_hosts}\n  StrictHostKeyChecking ask")
    before = host.accepted_logins()
    with pytest.raises(LoginRefused, match=r"(?i)changed|verification failed|revoked") as caught:
        RemoteContext(host.alias).check_output(["true"])
    # with its name in known_hosts
    assert (f"ssh-keygen -R '{name}'" in str(caught.value)) == (known == "changed")
    assert host.accepted_logins() == before
    # unless checks are off; known_hosts is not changed then
    text = known_hosts.read_text()
    assert RemoteContext(host.alias, no_host_key_check=True).check_output(["echo in"]) == b"in\n"
    assert known_hosts.read_text() == text


def test_hashed_known_hosts_are_read(host, luigi_cfg, tmp_path):
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(host.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known_hosts], check=True, capture_output=True)
    assert host.hostname not in known_hosts.read_text()
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  UserKnownHostsFile {known_hosts}")
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_an_include_is_followed_and_conditions_end_with_it(host, luigi_cfg, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "10").write_text(f"Host nobody\n  Port 1\nHost {host.alias}\n  Include {tmp_path}/address /missing/*\n")
    (folder / "20").write_text(f"Host inc*\n  HostKeyAlias {host.alias}\n  HostName no-such-host.invalid\n")
    (tmp_path / "address").write_text(f"HostName {host.hostname}\nPort {host.port}\n")
    text = luigi_cfg.ssh_config.read_text()
    for word in ("HostName", "Port"):
        text = re.sub(rf"(?m)^  {word} .*\n", "", text)
    path = tmp_path / "config"
    path.write_text(f'Include = "{folder}/*"\n{text}')
    configure(ssh_config=path)
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    # an edit of an included file counts at once
    (tmp_path / "address").write_text(f"HostName {host.hostname}\nPort 1\n")
    (answer,) = in_processes(1, RemoteContext(host.alias))
    assert isinstance(answer, HostUnreachable)


def test_proxyjump_connects_through_the_jump_host(host, luigi_cfg):
    add_ssh_config(luigi_cfg, through_itself(host, luigi_cfg.path.parent))
    configure(control_persist=2)
    before = host.accepted_logins()
    context = RemoteContext("through")
    assert context.check_output(["echo in"]) == b"in\n"
    assert len(context.check_output(["head -c 5000000 /dev/zero"])) == 5_000_000
    # used for longer than an idle connection lives, as is the connection to the jump host
    assert context.check_output(["sleep 4; echo still in"]) == b"still in\n"
    assert host.accepted_logins() == before + 2
    context.close()


def test_a_proxy_command_carries_the_connection_and_ends_with_it(host, luigi_cfg, tmp_path):
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
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  ProxyCommand {sys.executable} {relay} %h %p")
    context = RemoteContext(host.alias)
    assert context.check_output(["echo in"]) == b"in\n"
    relays = [process.pid for process in processes.running() if str(relay) in process.args]
    assert relays
    context.close()
    processes.wait_until(lambda: not any(map(processes.alive, relays)), "the end of the proxy command")
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  ProxyCommand echo no way >&2; exit 1")
    with pytest.raises(HostUnreachable):
        RemoteContext(host.alias).check_output(["true"])


def test_an_unknown_name_and_a_closed_port_are_distinguished(luigi_cfg):
    with pytest.raises(LoginRefused, match=r"no-such-host.invalid[\s\S]*Next: check the spelling"):
        RemoteContext("no-such-host.invalid").check_output(["true"])
    configure(connect_attempts=2)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(HostUnreachable, match="refused"):
            RemoteContext("127.0.0.1", port=reserved.getsockname()[1]).check_output(["true"])


def test_a_failed_login_is_one_attempt_for_all_waiting_processes(host, luigi_cfg, refused_key):
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


def test_an_unreadable_ssh_configuration_is_reported(luigi_cfg, tmp_path):
    configure(ssh_config=tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="missing"):
        RemoteContext("box").check_output(["true"])


def test_a_configuration_with_hostkeyalias_and_port_works(proxy, host, luigi_cfg):
    """The tests use such a configuration to connect through a proxy."""
    path = luigi_cfg.path.with_name("config")
    path.write_text(through(proxy, host))
    configure(ssh_config=path)
    sent = proxy.sent
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    assert proxy.sent > sent
