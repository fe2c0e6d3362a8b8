"""Digests of local files, to compare them with files on a host."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import IO

from luigi_sshjob.targets.streams import CHUNK

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def sha256(local: IO[bytes]) -> str:
    """The sha256 of a whole file, in hexadecimal digits."""
    digest = hashlib.sha256()
    for data in _chunks(local):
        digest.update(data)
    return digest.hexdigest()


def cksum(local: IO[bytes]) -> str:
    """CRC and size of a whole file as POSIX defines them; the CRC detects accidental changes only."""
    crc, size = 0xFFFFFFFF, 0
    for data in _chunks(local):
        crc, size = _update(crc, data), size + len(data)
    crc = _update(crc, size.to_bytes((size.bit_length() + 7) // 8, "little"))
    return f"{int(f'{crc:032b}'[::-1], 2)} {size}"


def _update(crc: int, data: bytes) -> int:
    # zlib has the same polynomial, but begins with the lowest bit of each byte
    return zlib.crc32(data.translate(_REVERSED), crc)


def _chunks(local: IO[bytes]) -> Iterator[bytes]:
    local.seek(0)
    while data := local.read(CHUNK):
        yield data
