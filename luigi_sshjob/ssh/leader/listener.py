"""The leader's side of the sockets over which the other processes of this account ask."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

from luigi_sshjob.ssh.leader.framing import Decoder, encode


class Peer:
    """A process that asks, and the numbers of the requests whose answer it waits for."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.unpacker = Decoder()
        self.unsent = bytearray()
        self.waits_for: set[int] = set()


class Listener:
    """All of them, behind the socket at `address`. `asked` gets each request, `gone` whoever has left."""

    def __init__(
        self,
        address: str,
        selector: selectors.BaseSelector,
        asked: Callable[[Peer, str, int, list[Any]], None],
        gone: Callable[[Peer], None],
    ):
        self._selector = selector
        self._asked = asked
        self._gone = gone
        self._peers: set[Peer] = set()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    @property
    def waiting(self) -> bool:
        """Whether any of them waits for an answer."""
        return any(peer.waits_for for peer in self._peers)

    @property
    def all_told(self) -> bool:
        """Whether everything that was sent has left."""
        return not any(peer.unsent for peer in self._peers)

    def send(self, peer: Peer, kind: str, number: int, content: object) -> None:
        """A reply to request `number`, if the peer is still there."""
        if peer in self._peers:
            peer.waits_for.discard(number)
            peer.unsent += encode((kind, number, content))
            self._flush(peer)

    def beat(self) -> None:
        """A sign of life to all who wait."""
        for peer in list(self._peers):
            if peer.waits_for:
                self.send(peer, "beat", 0, None)

    def admit_no_more(self) -> None:
        """Whoever comes from now on looks for another leader."""
        if self._listener.fileno() >= 0:
            self._selector.unregister(self._listener)
            self._listener.close()

    def close(self) -> None:
        """Also for a forked child: nothing is said to anybody."""
        for one in (self._listener, *(peer.socket for peer in self._peers)):
            one.close()

    def _accept(self, _: int) -> None:
        connection, _address = self._listener.accept()
        connection.setblocking(False)
        peer = Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._serve(peer, events))

    def _serve(self, peer: Peer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(peer)
        if not events & selectors.EVENT_READ or peer not in self._peers:
            return
        try:
            data = peer.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            messages = list(peer.unpacker.feed(data)) if data else None
        except Exception:  # not one of us
            messages = None
        if messages is None:
            self._forget(peer)
            return
        for kind, number, *details in messages:
            peer.waits_for.add(number)
            self._asked(peer, kind, number, details)

    def _flush(self, peer: Peer) -> None:
        try:
            while peer.unsent:
                del peer.unsent[: peer.socket.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._forget(peer)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        key = self._selector.get_key(peer.socket)
        if key.events != events:
            self._selector.modify(peer.socket, events, key.data)

    def _forget(self, peer: Peer) -> None:
        self._peers.discard(peer)
        with contextlib.suppress(KeyError):
            self._selector.unregister(peer.socket)
        peer.socket.close()
        self._gone(peer)
