"""Forwards a local port to another address, without SSH."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import socketserver
import threading
import weakref
from collections.abc import Iterator

_CHUNK = 1 << 16  # bytes


@contextlib.contextmanager
def forward(local_port: int, remote: tuple[str, int]) -> Iterator[int]:
    """Forward 127.0.0.1:`local_port` (0: a free port) to `remote` while the block runs. Raises `OSError`."""
    with _Server(local_port, remote) as server:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
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
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(("127.0.0.1", local_port), _Handler)
        _all.add(self)

    def disconnect(self) -> None:
        """End the port and all connections through it, also the copies in a child that has just been forked."""
        for each in (self.socket, *self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        # as sshd does, close the connection if there is nothing to connect to
        with contextlib.suppress(OSError), socket.create_connection(self.server.remote) as remote:
            self.server.connections.update((self.request, remote))
            _copy_both_ways(self.request, remote)


def _copy_both_ways(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                data = source.recv(_CHUNK)
                if data:
                    target.sendall(data)
                else:
                    selector.unregister(source)
                    target.shutdown(socket.SHUT_WR)


_all: weakref.WeakSet[_Server] = weakref.WeakSet()


def _after_fork() -> None:
    # a forked child must not keep the port open
    for server in list(_all):
        server.socket.close()
        for connection in list(server.connections):
            connection.close()


os.register_at_fork(after_in_child=_after_fork)
