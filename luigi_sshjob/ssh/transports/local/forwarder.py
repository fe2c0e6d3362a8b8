"""Forwards a local port to another address, without SSH."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
import weakref
from collections.abc import Iterator

from luigi_sshjob.errors import LocalResourceError
from luigi_sshjob.ssh.local.starting import start_thread

_CHUNK = 1 << 16  # bytes


@contextlib.contextmanager
def forward(local_port: int, remote: tuple[str, int]) -> Iterator[int]:
    """Forward 127.0.0.1:`local_port` (0: a free port) to `remote` while the block runs. Raises `OSError`."""
    with _Server(local_port, remote) as server:
        start_thread(server.serve_forever, 0.1)
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            server.disconnect()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, local_port: int, remote: tuple[str, int]):
        self.remote = remote
        self._lock = threading.Lock()
        self._open: set[socket.socket] | None = set()
        super().__init__(("127.0.0.1", local_port), _Handler)
        _all.add(self)

    @contextlib.contextmanager
    def registered(self, *connections: socket.socket) -> Iterator[bool]:
        """Until the end of the block the connections end with the tunnel. Yields whether that is still open."""
        with self._lock:
            if self._open is not None:
                self._open.update(connections)
        try:
            yield self._open is not None
        finally:
            with self._lock:
                if self._open is not None:
                    self._open.difference_update(connections)

    def disconnect(self) -> None:
        """End the port and all connections through it, also the copies in a child that has just been forked."""
        with self._lock:
            connections, self._open = self._open or set(), None
        for each in (self.socket, *connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def detach_after_fork(self) -> None:
        """Close a forked child's copies: it must not keep the port open."""
        for each in (self.socket, *(self._open or ())):
            each.close()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        # as sshd does, close the connection if there is nothing to connect to
        with (
            contextlib.suppress(OSError, LocalResourceError),
            socket.create_connection(self.server.remote) as remote,
            self.server.registered(self.request, remote) as is_open,
        ):
            if not is_open:
                return
            # both directions at once, because each may wait for its receiver
            back = start_thread(_copy, remote, self.request)
            _copy(self.request, remote)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    # a broken one ends both directions, an ordinary end only this one
    for each, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            each.shutdown(how)


_all: weakref.WeakSet[_Server] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_all):
        server.detach_after_fork()


os.register_at_fork(after_in_child=_after_fork)
