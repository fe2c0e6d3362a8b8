"""Host keys: what known_hosts does not know is refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import paramiko


class HostKeyRefused(Exception):
    """Says why, in words for the user."""


class Refuse(paramiko.MissingHostKeyPolicy):
    """For a host that known_hosts does not have."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise HostKeyRefused(f"Host key verification failed: no key of {hostname} is known; it shows {shown(key)}")


class Accept(paramiko.MissingHostKeyPolicy):
    """For `no_host_key_check`: any key, and none is written down."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        pass


def prepare(client: paramiko.SSHClient, files: Iterable[str], *, check: bool) -> None:
    """Makes the client check the host's key against `files`, those that exist; or not, as the user wants."""
    client.set_missing_host_key_policy(Refuse() if check else Accept())
    for name in files if check else ():
        try:
            client.load_system_host_keys(name)
        except OSError:
            continue


def refuse_revoked(files: Iterable[str], key: paramiko.PKey | None) -> None:
    """Raises `HostKeyRefused` for a key that a line with @revoked names, which paramiko leaves out."""
    for name in files:
        try:
            with open(name, encoding="utf-8", errors="replace") as lines:
                revoked = [line.split()[3:4] for line in lines if line.startswith("@revoked")]
        except OSError:
            continue
        if key is not None and [key.get_base64()] in revoked:
            raise HostKeyRefused(f"Host key verification failed: {name} says that {shown(key)} was revoked")


def shown(key: paramiko.PKey) -> str:
    """As ssh-keygen -l shows a key."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
