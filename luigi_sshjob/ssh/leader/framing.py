"""Framing of the messages between a leader and its clients: a length, a JSON text, then the bytes of a response."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from luigi_sshjob.ssh.shell.bounds import LARGEST_RESPONSE

MAX_REQUEST = 1 << 26
"""Bytes of a message to the leader: a submission has the command and the environment of a job."""

MAX_RESPONSE = 2 * LARGEST_RESPONSE
"""Bytes of a message to a client: a response and its header, which is never longer."""

_LENGTHS = struct.Struct(">II")


class InvalidMessage(Exception):
    """The bytes are not a message of this protocol."""


def encode(header: Any, content: bytes = b"") -> bytes:
    """Returns one message as bytes. `header` is what JSON can represent."""
    # ASCII also for the bytes of a path that are not UTF-8, which are lone surrogates in a str
    text = json.dumps(header).encode("ascii")
    return b"".join((_LENGTHS.pack(len(text), len(content)), text, content))


class Decoder:
    """Splits a stream of bytes into messages of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Any, bytes]]:
        """Yields the header and content of each message that `data` completes. Raises `InvalidMessage`."""
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            header_size, content_size = _LENGTHS.unpack_from(self._buffer)
            start = _LENGTHS.size + header_size
            if header_size + content_size > self._limit:
                raise InvalidMessage(f"message too large: {header_size + content_size} bytes")
            if len(self._buffer) < start + content_size:
                return
            end = start + content_size
            text, content = bytes(self._buffer[_LENGTHS.size : start]), bytes(self._buffer[start:end])
            del self._buffer[:end]
            try:
                # RecursionError: nested too deeply
                header = json.loads(text, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise InvalidMessage(str(error)) from None
            yield header, content


def _refuse(constant: str) -> None:
    """NaN and the infinities are not JSON."""
    raise InvalidMessage(constant)
