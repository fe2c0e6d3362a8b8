"""The configurations for a bastion that docs/hpc.rst shows."""

from __future__ import annotations

import subprocess

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import HostUnreachable

from support.settings import configure


@pytest.fixture
def bastion(host, luigi_cfg, tmp_path):
    """The path of a client configuration whose hosts `gate`, `one` and `two` are the host of the tests."""
    inside = 22 if host.kind == "docker" else host.port
    known = tmp_path / "known"
    known.write_text(f"{host.known_hosts.read_text()}inside {host.known_hosts.read_text().partition(' ')[2]}")
    control_path = luigi_cfg.runtime_dir / "g-%C"
    behind = f"  HostName 127.0.0.1\n  HostKeyAlias inside\n  Port {inside}\n"
    gate = f"  HostName 127.0.0.1\n  Port {host.port}\n  ControlPath {control_path}\n"
    path = tmp_path / "config"
    path.write_text(
        f"Host gate\n{gate}  ControlMaster auto\n  ControlPersist 60\n"
        f"Host gate-if-open\n{gate}  ProxyCommand false\n"
        f"Host one two\n{behind}  ProxyJump gate\n"
        f"Host inner\n{behind}  ProxyJump gate-if-open\n"
        f"Host *\n  User {host.username}\n  IdentityFile {host.key_file}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known}\n  ConnectTimeout 10\n"
    )
    configure(ssh_config=path, connect_attempts=1)
    yield path
    subprocess.run(["ssh", "-F", path, "-O", "exit", "gate"], stdin=subprocess.DEVNULL, capture_output=True)


def test_hosts_behind_a_bastion_share_one_login_on_it(host, bastion):
    before = host.accepted_logins()
    contexts = [RemoteContext(name) for name in ("one", "two")]
    for context in contexts:
        assert context.check_output(["echo in"]) == b"in\n"
    # one on the bastion, one on each host
    assert host.accepted_logins() == before + 3
    for context in contexts:
        context.close()


def test_a_login_on_the_bastion_by_hand_opens_the_way_and_nothing_else_logs_in_there(host, bastion):
    context = RemoteContext("inner")
    before = host.accepted_logins()
    with pytest.raises(HostUnreachable):
        context.check_output(["true"])
    assert host.accepted_logins() == before
    subprocess.run(["ssh", "-F", bastion, "-f", "-N", "gate"], stdin=subprocess.DEVNULL, check=True)
    assert context.check_output(["echo in"]) == b"in\n"
    assert host.accepted_logins() == before + 2
    context.close()
