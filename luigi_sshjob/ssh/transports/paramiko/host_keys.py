"""Host keys: what known_hosts, see sshd(8), does not have, or has as revoked, is refused."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator

import paramiko

from luigi_sshjob.error_context import is_local

_RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")  # the algorithms for a key of the last one's name


class HostKeyRefused(Exception):
    """Says why, in words for the user."""


@dataclasses.dataclass(frozen=True)
class _Known:
    kind: str
    text: str
    revoked: bool


class HostKeys(paramiko.MissingHostKeyPolicy):
    """What `files` have for `name`, as the client that connects is to ask: [host]:port unless the port is 22.

    paramiko's own reader gives up at a line with a marker, and takes a pattern for a name.
    """

    def __init__(self, files: Iterable[str], name: str):
        self._known = list(_lines(files, name))

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Asked for every host, as the client knows none. Raises `HostKeyRefused`."""
        found = [known for known in self._known if known.text == key.get_base64()]
        shows = f"it shows {shown(key)}"
        if any(known.revoked for known in found):
            raise HostKeyRefused(f"Host key verification failed: {shows}, which known_hosts has as revoked")
        if found:
            return
        if any(known.kind == key.get_name() for known in self._known):
            raise HostKeyRefused(f"The host key for {hostname} has changed: {shows}, and known_hosts has another")
        raise HostKeyRefused(f"Host key verification failed: no such key of {hostname} is known; {shows}")

    def preferred(self, algorithms: Iterable[str]) -> list[str]:
        """Those first for which there is a key, so that the host shows that one."""
        kinds = {known.kind for known in self._known if not known.revoked}
        names = kinds.union(_RSA) if "ssh-rsa" in kinds else kinds
        return sorted(algorithms, key=lambda algorithm: algorithm not in names)


class AnyHostKey(HostKeys):
    """For `no_host_key_check`: any key will do, and none is written down."""

    def __init__(self) -> None:
        super().__init__((), "")

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Nothing."""


def _lines(files: Iterable[str], name: str) -> Iterator[_Known]:
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                fields = [line.split() for line in lines]
        except OSError as error:
            if is_local(error):
                raise
            continue
        for marker, names, *rest in (one if one[0].startswith("@") else ["", *one] for one in fields if len(one) > 2):
            # the key of an authority is not the host's own
            if marker in ("", "@revoked") and len(rest) > 1 and _matches(names, name):
                yield _Known(rest[0], rest[1], marker == "@revoked")


def _matches(names: str, name: str) -> bool:
    if names.startswith("|1|"):
        return bool(paramiko.HostKeys.hash_host(name, names) == names)
    found = False
    for pattern in names.split(","):
        text = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(text, name, re.IGNORECASE):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def shown(key: paramiko.PKey) -> str:
    """As ssh-keygen -l shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
