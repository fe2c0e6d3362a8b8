"""The account at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import sys

# LOCAL_PEERCRED of sys/un.h: a struct xucred, which begins with a version and the uid
_LEVEL, _OPTION, _SIZE = 0, 1, 76


def is_own_account(connection: socket.socket) -> bool:
    """Whether the process at the other end has this process's effective uid.

    True where the system cannot tell: then the private directory of the socket is the protection. Raises `OSError` if
    that process has left, on some systems.
    """
    if sys.platform == "linux":
        _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    elif sys.platform == "darwin" or "bsd" in sys.platform:
        (uid,) = struct.unpack_from("=I", connection.getsockopt(_LEVEL, _OPTION, _SIZE), 4)
    else:
        return True
    return bool(uid == os.geteuid())
