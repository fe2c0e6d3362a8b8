"""Settings of [sshjob] for one test."""

from __future__ import annotations

from pathlib import Path

import luigi.configuration
import pytest

from support.hosts import Host

# For a test that promises the same by each.
both_transports = pytest.mark.parametrize("transport", ["openssh", "paramiko"], indirect=True)


def configure(**values: object) -> None:
    """Until the end of the test: `luigi_cfg` makes a new parser for each."""
    for name, value in values.items():
        luigi.configuration.get_config().set("sshjob", name, str(value))


def through_itself(host: Host, folder: Path) -> str:
    """The client configuration of a host `through`: the same one, with itself as the jump host."""
    inside = 22 if host.kind == "docker" else host.port
    known = folder / "known_inside"
    known.write_text(f"inside {host.host_key.with_name(host.host_key.name + '.pub').read_text()}")
    return (
        f"Host through\n  HostName 127.0.0.1\n  HostKeyAlias inside\n  Port {inside}\n  User {host.username}\n"
        f"  IdentityFile {host.key_file}\n  UserKnownHostsFile {known}\n  ProxyJump {host.alias}\n"
    )
