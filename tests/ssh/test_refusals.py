"""Each way in which a host refuses a login is one failed login, and an error that says what to do."""

from __future__ import annotations

import http.server
import subprocess
import threading

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.errors import HostUnreachable, LoginRefused

from support.settings import add_ssh_config, configure

pytestmark = pytest.mark.needs_docker

PASSWORDS = "PasswordAuthentication yes\nPubkeyAuthentication no\nKbdInteractiveAuthentication no"
OLD = "KexAlgorithms diffie-hellman-group14-sha1\nHostKeyAlgorithms ssh-ed25519"

# what is done on the host, options of sshd, the class and the code of the error, and words of it
REFUSALS = {
    "expired account": ("chage -E 2020-01-01 job", "", LoginRefused, "account-expired", "Your account has expired"),
    "maintenance": ("echo back at noon >/etc/nologin", "", HostUnreachable, "account-refused", "back at noon"),
    "expired password": ("chage -d 0 job", "", LoginRefused, "password-expired", "change it with `ssh"),
    "no shell": ("usermod -s /usr/sbin/nologin job", "", LoginRefused, "account-not-available", "no login shell"),
    "missing shell": ("usermod -s /bin/missing job", "", LoginRefused, "authentication-failed", "Permission denied"),
    "passwords only": ("true", PASSWORDS, LoginRefused, "password-only", "set sshpass, and SSHPASS"),
    "wrong key": (
        "rm -r /home/job/.ssh",
        "",
        LoginRefused,
        "authentication-failed",
        "authorized_keys on job@127.0.0.1",
    ),
    "old algorithms": ("true", OLD, LoginRefused, "no-common-algorithm", "diffie-hellman-group14-sha1"),
    "denied user": ("true", "DenyUsers job", LoginRefused, "authentication-failed", "Permission denied"),
}


@pytest.mark.parametrize("state", REFUSALS)
def test_a_refusal_is_one_failed_login_and_names_its_cause(special_bench, luigi_cfg, state):
    command, options, kind, code, words = REFUSALS[state]
    host = special_bench().host
    host.run("sh", "-c", command, user="root")
    if options:
        host.configure_sshd(options, first=True)
    if state == "old algorithms":
        luigi_cfg.path.with_name("ssh_config").write_text(
            "KexAlgorithms curve25519-sha256\n" + host.ssh_config.read_text()
        )
        configure(ssh_config=luigi_cfg.path.with_name("ssh_config"))
    before = host.log_text().count("Connection from")
    with pytest.raises(kind) as caught:
        RemoteFileSystem(host.alias).exists("/")
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert words in str(caught.value)
    assert caught.value.host == host.alias
    # nothing asks again at once
    if kind is LoginRefused:
        with pytest.raises(kind):
            RemoteFileSystem(host.alias).exists("/")
    assert host.log_text().count("Connection from") - before == 1


def test_an_agent_with_many_keys_is_one_failed_login_and_key_file_helps(special_bench, tmp_path, agent):
    host = special_bench().host
    host.configure_sshd("MaxAuthTries 3", first=True)
    for number in range(6):
        key = tmp_path / f"key{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], check=True, stdin=subprocess.DEVNULL)
    path = tmp_path / "config"
    path.write_text(host.ssh_config.read_text().replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    configure(ssh_config=path)
    before = host.log_text().count("Connection from")
    with pytest.raises(LoginRefused, match="too many keys were tried") as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert caught.value.code == "too-many-keys"
    assert "set key_file" in caught.value.next_step
    assert host.log_text().count("Connection from") - before == 1
    context = RemoteContext(host.alias, key_file=str(host.key_file))
    assert context.check_output(["echo in"]) == b"in\n"


def test_a_key_that_others_may_read_is_named(host, luigi_cfg, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(host.key_file.read_bytes())
    key.chmod(0o644)
    path = tmp_path / "config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), str(key)))
    configure(ssh_config=path)
    with pytest.raises(LoginRefused, match="the key file may be read by others") as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert "chmod 600" in caught.value.next_step


def test_a_port_of_another_service_is_named_as_such(host, luigi_cfg):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        add_ssh_config(luigi_cfg, f"Host web\n  HostName 127.0.0.1\n  Port {server.server_port}\n")
        configure(connect_attempts=1)
        with pytest.raises((LoginRefused, HostUnreachable)) as caught:
            RemoteContext("web").check_output(["true"])
        server.shutdown()
    assert caught.value.code == "not-an-ssh-server"
    assert "<!DOCTYPE HTML>" in caught.value.problem


def test_a_source_address_with_penalties_is_told_why_it_must_wait(special_bench, tmp_path):
    host = special_bench(machine="debian13").host
    host.configure_sshd("PerSourcePenalties authfail:90s min:1s", first=True)
    right = host.ssh_config.read_text()
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    path = tmp_path / "config"
    path.write_text(right.replace(str(host.key_file), str(other)))
    configure(ssh_config=path, connect_attempts=1)
    with pytest.raises(LoginRefused):
        RemoteContext(host.alias).check_output(["true"])
    configure(ssh_config=host.ssh_config)

    with pytest.raises(HostUnreachable, match="Not allowed at this time") as caught:
        RemoteContext(host.alias).check_output(["true"])
    assert caught.value.code == "connection-dropped"
    assert "PerSourcePenalties" in caught.value.next_step
