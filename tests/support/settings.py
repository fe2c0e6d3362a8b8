"""Settings in [sshjob] for one test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import luigi.configuration
import pytest

from support.hosts import Host
from support.images import CHOSEN, HERE

# Runs a test with each transport, or with that of the host of this run.
_TRANSPORTS = ["local"] if CHOSEN == HERE else ["openssh", "paramiko"]
both_transports = pytest.mark.parametrize("transport", _TRANSPORTS, indirect=True)


def both_transports_at(name: str, places: list[int]) -> pytest.MarkDecorator:
    """Runs a test at all places with the first transport, and at every second one with the other: it resumes alike."""
    pairs = [(transport, place) for step, transport in enumerate(_TRANSPORTS, 1) for place in places[::step]]
    return pytest.mark.parametrize(("transport", name), pairs, indirect=["transport"])


def configure(**values: object) -> None:
    """Set values until the end of the test; `luigi_cfg` creates a new parser for each test."""
    for name, value in values.items():
        luigi.configuration.get_config().set("sshjob", name, str(value))


def add_ssh_config(luigi_cfg: Any, text: str) -> None:
    """Put `text` before the host's own client configuration."""
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(f"{text}\nHost *\n{luigi_cfg.ssh_config.read_text()}")
    configure(ssh_config=path)


def through_itself(host: Host, folder: Path) -> str:
    """Return the client configuration of an alias `through`, which uses the host as its own jump host."""
    inside = 22 if host.kind == "docker" else host.port
    known = folder / "known_inside"
    known.write_text(f"inside {host.host_key.with_name(host.host_key.name + '.pub').read_text()}")
    return (
        f"Host through\n  HostName 127.0.0.1\n  HostKeyAlias inside\n  Port {inside}\n  User {host.username}\n"
        f"  IdentityFile {host.key_file}\n  UserKnownHostsFile {known}\n  ProxyJump {host.alias}\n"
    )
