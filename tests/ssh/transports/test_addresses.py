"""IPv6 addresses, also with a zone, and several jump hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from luigi_sshjob import RemoteContext, RemoteTarget

from support.network_proxy import Proxy
from support.settings import both_transports, configure

pytestmark = both_transports


def link_local() -> str:
    """A link-local address of this machine, with its zone; empty if it has none."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, scope, _, interface = line.split()
        # a veth is that of a container, which may end
        if scope == "20" and not interface.startswith("veth"):
            address = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
            return f"{address}%{interface}"
    return ""


@pytest.mark.parametrize("kind", ["loopback", "with a zone"])
def test_an_ipv6_address_reaches_the_host(host, luigi_cfg, tmp_path, kind):
    address = "::1" if kind == "loopback" else link_local()
    if not address:
        pytest.skip("this machine has no link-local address")
    proxy = Proxy((host.hostname, host.port), address=address)
    config = tmp_path / "config"
    options = [line for line in host.ssh_config.read_text().splitlines() if line.split()[0] not in ("HostName", "Port")]
    known = tmp_path / "known"
    known.write_text(f"box {host.known_hosts.read_text().partition(' ')[2]}")
    text = "\n".join(options).replace(f"Host {host.alias}", "Host *").replace(str(host.known_hosts), str(known))
    config.write_text(f"{text}\n  HostKeyAlias box\n")
    configure(ssh_config=config)
    try:
        name = f"{host.username}@[{address}]:{proxy.port}"
        context = RemoteContext(name)
        assert context.check_output(["echo in"]) == b"in\n"
        assert RemoteTarget("/etc/passwd", name).exists()
        context.close()
    finally:
        proxy.close()


def test_two_jump_hosts_are_one_login_each(host, luigi_cfg, tmp_path):
    inside = 22 if host.kind == "docker" else host.port
    known = tmp_path / "known_inside"
    known.write_text(f"inside {host.known_hosts.read_text().partition(' ')[2]}")
    common = (
        f"  HostName 127.0.0.1\n  HostKeyAlias inside\n  Port {inside}\n  User {host.username}\n"
        f"  IdentityFile {host.key_file}\n  UserKnownHostsFile {known}\n"
    )
    config = tmp_path / "config"
    config.write_text(
        f"Host last\n{common}  ProxyJump {host.alias},second\nHost second\n{common}{host.ssh_config.read_text()}"
    )
    configure(ssh_config=config)
    before = host.accepted_logins()
    context = RemoteContext("last")
    for _ in range(3):
        assert context.check_output(["echo in"]) == b"in\n"
    assert host.accepted_logins() == before + 3
    context.close()
