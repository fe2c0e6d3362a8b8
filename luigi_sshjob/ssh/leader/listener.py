"""The leader's server socket, and its connections to the client processes."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

from luigi_sshjob.ssh.leader.framing import MAX_REQUEST, MAX_RESPONSE, Decoder, InvalidMessage
from luigi_sshjob.ssh.leader.messages import decode_request, encode_reply
from luigi_sshjob.ssh.local.peer import is_own_account
from luigi_sshjob.ssh.shell.bounds import too_large
from luigi_sshjob.ssh.shell.remote_shell import Response

HEARTBEAT = 2.0  # seconds between two heartbeats to clients that wait for a response
_MAX_UNSENT = 2 * MAX_RESPONSE  # bytes for a client that does not read; it is disconnected above that


class Peer:
    """A connected client, and the numbers of its requests that have no response yet."""

    def __init__(self, connection: socket.socket):
        self.socket = connection
        self.decoder = Decoder(MAX_REQUEST)
        self.unsent = bytearray()
        self.pending: set[int] = set()


class Listener:
    """Accepts clients at `address`; calls `on_message` for each message and `on_disconnect` for a client that left."""

    def __init__(
        self,
        address: str,
        host: str,
        selector: selectors.BaseSelector,
        on_message: Callable[[Peer, str, int, list[Any]], None],
        on_disconnect: Callable[[Peer], None],
    ):
        self._host = host
        self._selector = selector
        self._on_message = on_message
        self._on_disconnect = on_disconnect
        self._peers: set[Peer] = set()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(address)
        self._socket.listen(1024)
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    @property
    def has_pending(self) -> bool:
        """Whether any client waits for a response."""
        return any(peer.pending for peer in self._peers)

    @property
    def flushed(self) -> bool:
        """Whether all messages were written to the sockets."""
        return not any(peer.unsent for peer in self._peers)

    def send(self, peer: Peer, kind: str, number: int, content: Response | Exception | None) -> None:
        """Replies to request `number`, if the client is still connected."""
        if peer in self._peers:
            peer.pending.discard(number)
            message = encode_reply(kind, number, content)
            if len(message) > MAX_RESPONSE:
                message = encode_reply("error", number, too_large(self._host))
            peer.unsent += message
            self._flush(peer)
            if len(peer.unsent) > _MAX_UNSENT:
                self._remove(peer)

    def send_heartbeats(self) -> None:
        """Sends a heartbeat to each client that waits for a response."""
        for peer in list(self._peers):
            if peer.pending:
                self.send(peer, "heartbeat", 0, None)

    def stop_accepting(self) -> None:
        """Closes the server socket, so that new clients look for another leader."""
        if self._socket.fileno() >= 0:
            self._selector.unregister(self._socket)
            self._socket.close()

    def close(self) -> None:
        """Closes all sockets without sending anything; also for a forked child."""
        for each in (self._socket, *(peer.socket for peer in self._peers)):
            each.close()

    def _accept(self, _: int) -> None:
        connection, _address = self._socket.accept()
        try:
            foreign = not is_own_account(connection)
        except OSError:
            # some systems do not know it of a client that has left
            foreign = True
        if foreign:
            connection.close()
            return
        connection.setblocking(False)
        peer = Peer(connection)
        self._peers.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, lambda events: self._on_event(peer, events))

    def _on_event(self, peer: Peer, events: int) -> None:
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
            messages = [decode_request(*message) for message in peer.decoder.feed(data)] if data else None
        except InvalidMessage:
            messages = None
        if messages is None:
            self._remove(peer)
            return
        for kind, number, details in messages:
            peer.pending.add(number)
            self._on_message(peer, kind, number, details)

    def _flush(self, peer: Peer) -> None:
        try:
            while peer.unsent:
                del peer.unsent[: peer.socket.send(peer.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._remove(peer)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.unsent else 0)
        key = self._selector.get_key(peer.socket)
        if key.events != events:
            self._selector.modify(peer.socket, events, key.data)

    def _remove(self, peer: Peer) -> None:
        self._peers.discard(peer)
        with contextlib.suppress(KeyError):
            self._selector.unregister(peer.socket)
        peer.socket.close()
        self._on_disconnect(peer)
