"""What a connection is made over: a socket, a proxy command, or a channel of a jump host's connection."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile

from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig


class Socket:
    """A TCP connection to the host."""

    def __init__(self, way: HostConfig, timeout: float):
        self.socket = socket.create_connection((way.hostname, way.port), timeout)
        # a request is a small packet, and the next one must not wait until it was acknowledged (40 ms)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def said(self) -> str:
        """What there is to add to an error."""
        return ""

    def close(self) -> None:
        """Ends it."""
        self.socket.close()

    detach_after_fork = close


class ProxyCommand:
    """A local command whose standard input and output are the connection, as ssh_config(5)'s ProxyCommand."""

    def __init__(self, command: str):
        self.socket, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(self.socket.close)
            self._errors = on_failure.enter_context(tempfile.TemporaryFile())
            # the user's own line, for the user's own shell
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._errors
            )
            on_failure.pop_all()

    def said(self) -> str:
        """What it wrote on its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), min(size, 1000), 0).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Ends it."""
        self.detach_after_fork()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()

    def detach_after_fork(self) -> None:
        """For a forked child: the command is its parent's."""
        self.socket.close()
        self._errors.close()
