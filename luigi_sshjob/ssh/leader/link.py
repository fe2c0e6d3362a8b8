"""A socket to the leader of a host."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

from luigi_sshjob.ssh.leader.framing import Decoder, encode
from luigi_sshjob.ssh.leader.server import HEARTBEAT
from luigi_sshjob.ssh.shell.remote_shell import Response

HEARTBEAT_TIMEOUT = 5 * HEARTBEAT  # seconds without a sign of life after which a leader is taken for stuck (or stopped)


class LeaderGone(Exception):
    """There is no leader behind this link any more."""

    def __init__(self, *, moved: bool = False, stuck: bool = False):
        super().__init__()
        self.moved = moved  # it has not begun with what it was asked
        self.stuck = stuck


class LeaderLink:
    """A socket to the leader; replies may come in another order than they were asked for."""

    def __init__(self, connection: socket.socket, leader: int | None):
        self._socket = connection
        self._socket.settimeout(HEARTBEAT_TIMEOUT)
        self._unpacker = Decoder()
        self._count = 0
        self._replies: dict[int, tuple[str, object]] = {}
        self.leader = leader
        self.watching: tuple[int, str, str] | None = None

    def ask(self, kind: str, *details: object) -> int:
        self._count += 1
        try:
            self._socket.sendall(encode((kind, self._count, *details)))
        except TimeoutError:
            raise LeaderGone(stuck=True) from None
        except OSError:
            # whoever reads no more has not understood it whole
            raise LeaderGone(moved=True) from None
        return self._count

    def reply(self, number: int) -> Response | None:
        """The answer, or None for a sign of life. Raises `LeaderGone`, and the error that the leader replied."""
        while number not in self._replies:
            try:
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                raise LeaderGone(stuck=True) from None
            except OSError:
                data = b""
            if not data:
                raise LeaderGone
            alive = False
            for kind, answered, content in self._unpacker.feed(data):
                alive = alive or kind == "beat"
                if kind != "beat":
                    self._replies[answered] = (kind, content)
            if alive and number not in self._replies:
                return None
        kind, content = self._replies.pop(number)
        if kind == "moved":
            raise LeaderGone(moved=True)
        if kind == "error":
            assert isinstance(content, Exception)
            raise content
        assert isinstance(content, Response)
        return content

    def heard(self, wake: socket.socket, patience: float) -> Iterator[tuple[str, int, object]]:
        """What has arrived when `patience` seconds are over, or as soon as there is something: kind, number, content.

        Whatever arrives at `wake` ends the waiting too. Raises `LeaderGone`.
        """
        poller = select.poll()
        for waited in (self._socket, wake):
            poller.register(waited, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(max(0.0, patience) * 1000)]
        if wake.fileno() in ready:
            wake.recv(1000)
        if self._socket.fileno() not in ready:
            return iter(())
        try:
            data = self._socket.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            raise LeaderGone
        return self._unpacker.feed(data)

    def close(self) -> None:
        self._socket.close()
