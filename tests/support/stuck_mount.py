"""A FUSE file system whose server can be stopped, as a mount whose server is gone.

It speaks the protocol of the kernel (linux/fuse.h), because no library for it is among the test dependencies. As a
program, it serves the open descriptor in its argument until the file system is unmounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("<IIQQIIII")
_FILES = {b"": (1, stat.S_IFDIR | 0o755), b"file": (2, stat.S_IFREG | 0o644)}
_LOOKUP, _FORGET, _GETATTR, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = (
    *(1, 2, 3, 26, 27, 28, 29, 36, 42),
)


class StuckMount:
    """A mount that has one empty file, named `file`."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        if _libc.mount(b"test", os.fsencode(path), b"fuse", 0, options.encode()) != 0:
            error = ctypes.get_errno()
            os.close(device)
            raise OSError(error, os.strerror(error), str(path))
        self._server = subprocess.Popen([sys.executable, __file__, str(device)], pass_fds=[device])
        os.close(device)

    def stop(self) -> None:
        """Requests are no longer read; a process that waits for one can be killed."""
        self._server.send_signal(signal.SIGSTOP)

    def silence(self) -> None:
        """Requests are read and not answered: a process that waits for one cannot be killed."""
        self._server.send_signal(signal.SIGUSR1)

    def resume(self) -> None:
        """All requests are answered, also those from before."""
        self._server.send_signal(signal.SIGCONT)
        self._server.send_signal(signal.SIGUSR2)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
        _libc.umount2(os.fsencode(self.path), 2)


def _attributes(number: int, mode: int) -> bytes:
    return struct.pack("<6Q10I", number, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
    if opcode == _INIT:
        return 0, struct.pack("<4I2H2I8I", 7, 31, 65536, 0, 12, 9, 65536, 1, *[0] * 8)
    if opcode == _LOOKUP:
        known = _FILES.get(body.rstrip(b"\0")) if node == 1 else None
        return (0, struct.pack("<4Q2I", known[0], 0, 0, 0, 0, 0) + _attributes(*known)) if known else (2, b"")
    if opcode == _GETATTR:
        return 0, struct.pack("<Q2I", 0, 0, 0) + _attributes(*next(each for each in _FILES.values() if each[0] == node))
    if opcode in (_OPENDIR, _RELEASEDIR):
        return 0, bytes(16) if opcode == _OPENDIR else b""
    if opcode == _READDIR:
        first = struct.unpack_from("<Q", body, 8)[0] == 0
        return 0, struct.pack("<2Q2I8s", 2, 1, 4, stat.S_IFREG >> 12, b"file") if first else b""
    return 38, b""


def _serve(device: int) -> None:
    held: list[bytes] | None = None

    def hold(*_: Any) -> None:
        nonlocal held
        held = held or []

    def release(*_: Any) -> None:
        nonlocal held
        replies, held = held or [], None
        for reply in replies:
            with contextlib.suppress(OSError):
                os.write(device, reply)

    signal.signal(signal.SIGUSR1, hold)
    signal.signal(signal.SIGUSR2, release)
    while True:
        try:
            request = os.read(device, 1 << 18)
        except OSError:
            return
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode in (_FORGET, _INTERRUPT, _BATCH_FORGET):
            continue
        error, content = _answer(opcode, node, request[_HEADER.size :])
        reply = struct.pack("<IiQ", 16 + len(content), -error, unique) + content
        if held is not None:
            held.append(reply)
            continue
        # of a request that was interrupted
        with contextlib.suppress(OSError):
            os.write(device, reply)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
