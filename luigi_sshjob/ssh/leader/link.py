"""A client's socket to the leader of a host."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

from luigi_sshjob.errors import UnsafeValue
from luigi_sshjob.ssh.leader.framing import MAX_REQUEST, MAX_RESPONSE, Decoder, InvalidMessage
from luigi_sshjob.ssh.leader.listener import HEARTBEAT
from luigi_sshjob.ssh.leader.messages import decode_reply, encode_request
from luigi_sshjob.ssh.shell.remote_shell import Response
from luigi_sshjob.text import format_size

HEARTBEAT_TIMEOUT = 5 * HEARTBEAT  # seconds without a message after which a leader counts as stuck (or stopped)


class LeaderGone(Exception):
    """The leader at the other end of a link has ended, is stuck, or refuses requests."""

    def __init__(self, *, rejected: bool = False, stuck: bool = False, invalid: bool = False):
        super().__init__()
        self.rejected = rejected
        """Whether it is certain that the request was not sent to the host."""
        self.stuck = stuck
        self.invalid = invalid
        """Whether it has sent what is not a message."""


def assert_sendable(size: int) -> None:
    """Raises `UnsafeValue` for a request that is too large; `size` is in bytes."""
    if size > MAX_REQUEST:
        raise UnsafeValue(
            f"a request is too large: {format_size(size)} (at most {format_size(MAX_REQUEST)})",
            next_step="put large data in a file on the host, and pass its path to the command",
        )


class LeaderLink:
    """A socket to the leader; responses may arrive in a different order than the requests were sent in."""

    def __init__(self, connection: socket.socket, leader: int | None):
        self._socket = connection
        self._socket.settimeout(HEARTBEAT_TIMEOUT)
        self._decoder = Decoder(MAX_RESPONSE)
        self._count = 0
        self.leader = leader
        """The inode of the leader's lock file."""

    def send(self, kind: str, *details: object) -> int:
        """Sends a message and returns its number. Raises `LeaderGone`, or `UnsafeValue` for one that is too large."""
        self._count += 1
        message = encode_request(kind, self._count, *details)
        assert_sendable(len(message))
        try:
            self._socket.sendall(message)
        except TimeoutError:
            raise LeaderGone(stuck=True) from None
        except OSError:
            # a message that was not received as a whole is ignored
            raise LeaderGone(rejected=True) from None
        return self._count

    def response(self, number: int) -> Response:
        """Waits for the response to request `number`. Raises `LeaderGone`, or the error that the leader replied."""
        while True:
            for kind, answered, content in self._read():
                if answered != number:
                    # a heartbeat, or the response to a request whose caller was interrupted
                    continue
                if kind == "rejected":
                    raise LeaderGone(rejected=True)
                if isinstance(content, Exception):
                    raise content
                assert isinstance(content, Response)
                return content

    def receive(self, wake: socket.socket, timeout: float) -> Iterator[tuple[str, int, object]]:
        """Yields the messages that have arrived (kind, number, content) after at most `timeout` seconds.

        Returns earlier when there is a message, or anything to read from `wake`. Raises `LeaderGone`.
        """
        # not select(), which is limited to descriptors below 1024
        poller = select.poll()
        for waited in (self._socket, wake):
            poller.register(waited, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(max(0.0, timeout) * 1000)]
        if wake.fileno() in ready:
            wake.recv(1000)
        return self._read() if self._socket.fileno() in ready else iter(())

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _read(self) -> Iterator[tuple[str, int, object]]:
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            raise LeaderGone(stuck=True) from None
        except OSError:
            data = b""
        if not data:
            raise LeaderGone
        try:
            return iter([decode_reply(*message) for message in self._decoder.feed(data)])
        except InvalidMessage:
            # another one takes its place
            raise LeaderGone(stuck=True, invalid=True) from None
