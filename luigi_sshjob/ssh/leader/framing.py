"""Messages between the processes of one account on this machine, over a socket in its private runtime directory."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Any

_HEAD = struct.Struct(">I")


def encode(message: Any) -> bytes:
    """One message as bytes."""
    body = pickle.dumps(message)
    return _HEAD.pack(len(body)) + body


class Decoder:
    """Bytes as they come, as whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are whole with `data`."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + size
            if len(self._buffer) < end:
                return
            # only this account's processes can reach the socket: the runtime directory is private, see runtime.py
            message = pickle.loads(bytes(self._buffer[_HEAD.size : end]))
            del self._buffer[:end]
            yield message
