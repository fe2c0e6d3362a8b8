"""Carriers of a connection: a TCP socket or a proxy command."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile

from luigi_sshjob.ssh.local.starting import start
from luigi_sshjob.ssh.transports.paramiko.host_config import HostConfig


class Socket:
    """A TCP connection to the host."""

    def __init__(self, config: HostConfig, timeout: float):
        self.socket = socket.create_connection((config.hostname, config.port), timeout)
        # requests are small packets; none must wait for the acknowledgement of the last (40 ms)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def stderr_text(self) -> str:
        """Nothing: it has no stderr."""
        return ""

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    detach_after_fork = close


class ProxyCommand:
    """A local command whose standard input and output are the connection, see ProxyCommand in ssh_config(5)."""

    def __init__(self, command: str):
        self.socket, remote_end = socket.socketpair()
        with remote_end, contextlib.ExitStack() as on_failure:
            on_failure.callback(self.socket.close)
            self._stderr = on_failure.enter_context(tempfile.TemporaryFile())
            # shell text of the user's configuration
            self._process = start(
                subprocess.Popen,
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=remote_end.fileno(),
                stdout=remote_end.fileno(),
                stderr=self._stderr,
            )
            on_failure.pop_all()

    def stderr_text(self) -> str:
        """The first 1000 bytes of its stderr."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), min(size, 1000), 0).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Terminate the command."""
        self.detach_after_fork()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()

    def detach_after_fork(self) -> None:
        """Close a forked child's copies; the command belongs to its parent."""
        self.socket.close()
        self._stderr.close()
