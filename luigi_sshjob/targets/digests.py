"""Digests of local content, to compare it with files on a host."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

from luigi_sshjob.targets.streams import CHUNK

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def has_digest(path: str, digest: str) -> bool:
    """Whether a local file has a digest that `FileCommands.digest` has returned."""
    kind, _, value = digest.partition(" ")
    with open(path, "rb") as local:
        return value == (sha256(chunks(local)) if kind == "sha256" else cksum(chunks(local)))


def sha256(content: Iterable[bytes]) -> str:
    """The sha256, in hexadecimal digits."""
    digest = hashlib.sha256()
    for data in content:
        digest.update(data)
    return digest.hexdigest()


def cksum(content: Iterable[bytes]) -> str:
    """CRC and size in bytes as POSIX defines them; the CRC detects accidental changes only."""
    crc, size = 0xFFFFFFFF, 0
    for data in content:
        crc, size = _update(crc, data), size + len(data)
    crc = _update(crc, size.to_bytes((size.bit_length() + 7) // 8, "little"))
    return f"{int(f'{crc:032b}'[::-1], 2)} {size}"


def _update(crc: int, data: bytes) -> int:
    # zlib has the same polynomial, but begins with the lowest bit of each byte
    return zlib.crc32(data.translate(_REVERSED), crc)


def chunks(local: IO[bytes]) -> Iterator[bytes]:
    """The content of a whole file."""
    local.seek(0)
    while data := local.read(CHUNK):
        yield data
