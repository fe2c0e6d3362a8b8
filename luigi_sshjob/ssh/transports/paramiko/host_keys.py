"""Host key verification: keys that known_hosts, see sshd(8), does not list or lists as revoked are refused."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator

import paramiko

from luigi_sshjob.error_context import is_local

_RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")  # signature algorithms of an ssh-rsa key


class HostKeyRefused(Exception):
    """The reason, in the words of ssh(1) where `error_mapping` looks for them."""


@dataclasses.dataclass(frozen=True)
class _KnownKey:
    kind: str
    text: str
    marker: str

    @property
    def revoked(self) -> bool:
        return self.marker == "@revoked"


class HostKeys(paramiko.MissingHostKeyPolicy):
    """The keys that `files` list for `name`, which is [host]:port unless the port is 22.

    paramiko's own parser stops at a line with a marker, and takes patterns literally.
    """

    def __init__(self, files: Iterable[str], name: str):
        found = list(_read_known_hosts(files, name))
        # paramiko knows no certificates of hosts
        self._has_authority = any(known.marker == "@cert-authority" for known in found)
        self._known = [known for known in found if known.marker in ("", "@revoked")]

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002  # paramiko's interface
        hostname: str,
        key: paramiko.PKey,
    ) -> None:
        """Verify a host's key; called for every host, as the client has no keys. Raises `HostKeyRefused`."""
        matching = [known for known in self._known if known.text == key.get_base64()]
        shown = f"it shows {fingerprint(key)}"
        if any(known.revoked for known in matching):
            raise HostKeyRefused(f"Host key verification failed: {shown}, which known_hosts lists as revoked")
        if matching:
            return
        if any(known.kind == key.get_name() for known in self._known):
            raise HostKeyRefused(f"The host key for {hostname} has changed: {shown}, and known_hosts lists another")
        authority = "; known_hosts has a @cert-authority for it" if self._has_authority else ""
        raise HostKeyRefused(f"Host key verification failed: no such key of {hostname} is known; {shown}{authority}")

    def preferred(self, algorithms: Iterable[str]) -> list[str]:
        """`algorithms` with those of known keys first, so that the host shows a known key."""
        kinds = {known.kind for known in self._known if not known.revoked}
        names = kinds.union(_RSA) if "ssh-rsa" in kinds else kinds
        return sorted(algorithms, key=lambda algorithm: algorithm not in names)


class AnyHostKey(HostKeys):
    """Accepts any key and stores none, for `no_host_key_check`."""

    def __init__(self) -> None:
        super().__init__((), "")

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Accept the key."""


def _read_known_hosts(files: Iterable[str], name: str) -> Iterator[_KnownKey]:
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as lines:
                entries = [line.split() for line in lines]
        except OSError as error:
            if is_local(error):
                raise
            continue
        entries = [fields if fields[0].startswith("@") else ["", *fields] for fields in entries if len(fields) > 2]
        for marker, names, *rest in entries:
            if len(rest) > 1 and _matches(names, name):
                yield _KnownKey(rest[0], rest[1], marker)


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


def fingerprint(key: paramiko.PKey) -> str:
    """Type and fingerprint in the format of ssh-keygen -l."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
