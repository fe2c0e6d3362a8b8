"""Framing of the messages between a leader and its clients: pickles with a length prefix, over a private socket."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct(">I")


def encode(message: Any) -> bytes:
    """Returns one message as bytes."""
    body = pickle.dumps(message)
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Splits a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yields the messages that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            # only processes of this account reach the socket: its directory is private, see ssh/local/runtime_dir.py
            message = pickle.loads(bytes(self._buffer[_LENGTH.size : end]))  # noqa: S301  # for that reason
            del self._buffer[:end]
            yield message
