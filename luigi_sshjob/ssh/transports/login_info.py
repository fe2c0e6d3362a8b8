"""Where a destination leads, and details of a login."""

from __future__ import annotations

import dataclasses
import re

from luigi_sshjob.ssh.transports.login_causes import find_cause


@dataclasses.dataclass(frozen=True)
class Route:
    """Where a destination leads by the user's configuration, known without a connection."""

    hostname: str
    port: int
    username: str
    known_as: str
    """The host's name in known_hosts."""
    through: str = ""
    """A jump host or proxy command, which then resolves the name."""


def known_hosts_name(name: str, port: int) -> str:
    """A host's name in known_hosts, which contains the port unless it is 22, see sshd(8)."""
    return name if port == 22 else f"[{name}]:{port}"


@dataclasses.dataclass(frozen=True)
class LoginInfo:
    """Details of one login; empty where unknown, as all are if there was a connection already."""

    seconds: float | None = None
    method: str = ""
    host_key: str = ""
    """Its type and fingerprint."""
    trust: str = ""
    """Why the key was accepted: known, unchecked (unknown, and checks are off), changed (and checks are off)."""
    server: str = ""


def parse_login_log(log: str, seconds: float) -> LoginInfo:
    """Details of a successful login from ssh's stderr at LogLevel DEBUG1 (OpenSSH 9.2)."""
    method = _search(r'^Authenticated to .* using "([^"]+)"', log)
    # before OpenSSH 8.8
    method = method or _search(r"^debug1: Authentication succeeded \(([^)]+)\)", log)
    # several keys may be offered; the last accepted one was used
    keys = re.findall(r"^debug1: Server accepts key: (.*?) (?:\S+ )?SHA256:", log, re.MULTILINE)
    return LoginInfo(
        seconds=seconds,
        method=f"{method} ({keys[-1]})" if keys and method == "publickey" else method,
        host_key=_search(r"^debug1: Server host (?:key|certificate): (\S+ SHA256:[^\s,]+)", log),
        trust=_trust(log),
        server=_search(r"^debug1: Remote protocol version \S+, remote software version (\S+)", log),
    )


def _trust(log: str) -> str:
    if find_cause(log).code == "host-key-changed":
        return "changed"
    if re.search(r"^debug1: (Host .* is known and matches|matching host key fingerprint found in DNS)", log, re.M):
        return "known"
    # StrictHostKeyChecking is no, or accept-new
    return "unchecked" if "Permanently added" in log else ""


def _search(pattern: str, log: str) -> str:
    match = re.search(pattern, log, re.MULTILINE)
    return match[1] if match else ""
