"""How a host was reached: the way there, and what a login has shown of it."""

from __future__ import annotations

import dataclasses
import re

from luigi_sshjob.ssh.transports.error_mapping import login_error_code


@dataclasses.dataclass(frozen=True)
class Route:
    """Where a destination leads by the user's configuration, known without a connection."""

    hostname: str
    port: int
    username: str
    known_as: str
    """What known_hosts calls the host."""
    through: str = ""
    """A jump host or proxy command, which looks the name up then."""


def known_as(name: str, port: int) -> str:
    """A host in known_hosts: under its port too, unless that is the usual one, see sshd(8)."""
    return name if port == 22 else f"[{name}]:{port}"


@dataclasses.dataclass(frozen=True)
class LoginInfo:
    """One login. Empty is what is not known: all of it where the connection was there already."""

    seconds: float | None = None
    method: str = ""
    host_key: str = ""
    """Its type and fingerprint."""
    trust: str = ""
    """Why the key was taken: known, unchecked (nobody had it, and none was asked for), changed (taken all the same)."""
    server: str = ""


def without_details(said: str) -> str:
    """What an ssh that told details would have said without them: no debugging, and no banner of the host's."""
    text = re.sub(r"(?ms)^(debug1: SSH2_MSG_SERVICE_ACCEPT received\r?\n).*?^(?=debug1: |\Z)", r"\1", said)
    return re.sub(r"(?m)^(debug[123]: |Authenticated to ).*\n?", "", text)


def arrival_of(said: str, seconds: float) -> LoginInfo:
    """Of a login that went well, from what ssh said of it at LogLevel DEBUG1 (OpenSSH 9.2)."""
    method = _found(r'^Authenticated to .* using "([^"]+)"', said)
    # before OpenSSH 8.8
    method = method or _found(r"^debug1: Authentication succeeded \(([^)]+)\)", said)
    # many keys may be offered; the last that was accepted let us in
    keys = re.findall(r"^debug1: Server accepts key: (.*?) (?:\S+ )?SHA256:", said, re.MULTILINE)
    return LoginInfo(
        seconds=seconds,
        method=f"{method} ({keys[-1]})" if keys and method == "publickey" else method,
        host_key=_found(r"^debug1: Server host (?:key|certificate): (\S+ SHA256:[^\s,]+)", said),
        trust=_trust(said),
        server=_found(r"^debug1: Remote protocol version \S+, remote software version (\S+)", said),
    )


def _trust(said: str) -> str:
    if login_error_code(said) == "host-key-changed":
        return "changed"
    if re.search(r"^debug1: (Host .* is known and matches|matching host key fingerprint found in DNS)", said, re.M):
        return "known"
    # StrictHostKeyChecking is no, or accept-new
    return "unchecked" if "Permanently added" in said else ""


def _found(pattern: str, said: str) -> str:
    found = re.search(pattern, said, re.MULTILINE)
    return found[1] if found else ""
