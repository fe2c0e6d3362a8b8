"""Many watches of one thread over one link to the leader."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence

from luigi_sshjob.ssh.leader.client import LeaderClient
from luigi_sshjob.ssh.leader.link import HEARTBEAT_TIMEOUT, LeaderGone, LeaderLink
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

HOST = ""
"""What stands for the host itself where a topic is expected."""


class Subscriptions:
    """All but `wake` is for one thread. Everything may raise `LeaderGone`; then see `begin_anew`.

    Unlike `Connection.watch` nothing here waits until there is news of one certain thing.
    """

    def __init__(self, exchange: LeaderClient):
        self._exchange = exchange
        self._link: LeaderLink | None = None
        self._armed: dict[int, str] = {}
        self._heard = 0.0
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)

    def arm(self, topic: str, words: Sequence[str], *, interval: float, urgent: bool) -> None:
        """As `Connection.watch`; `hear` tells once."""
        self._armed[self._ask("watch", topic, request_text("", *words), interval, urgent)] = topic

    def ask_host(self) -> None:
        """Has the host say anything; told as news of `HOST`."""
        self._armed[self._ask("call", request_text("echo_back", "here"))] = HOST

    def drop(self, topics: Sequence[str]) -> None:
        """Nobody wants to know of these any more."""
        if topics and self._link:
            self._ask("drop", list(topics))

    def hear(self, patience: float) -> list[tuple[str, Response | Exception]]:
        """What there is to tell, after `patience` seconds at most or when woken: topics, and answers or what the leader
        met with."""
        told: list[tuple[str, Response | Exception]] = []
        heard = False
        for kind, number, content in self._arrived(patience):
            heard = True
            topic = self._armed.pop(number, None)
            if kind == "moved":
                raise LeaderGone(moved=True)
            if topic is not None:
                assert isinstance(content, (Response, Exception))
                told.append((topic, content))
        now = time.monotonic()
        if heard or not self._armed:
            self._heard = now
        elif now - self._heard > HEARTBEAT_TIMEOUT:
            raise LeaderGone(stuck=True)
        return told

    def _arrived(self, patience: float) -> Iterator[tuple[str, int, object]]:
        if self._link is None:
            # not select(), which knows no descriptor above 1023
            poller = select.poll()
            poller.register(self._woken, select.POLLIN)
            if poller.poll(max(0.0, patience) * 1000):
                self._woken.recv(1000)
            return iter(())
        return self._link.heard(self._woken, patience)

    def wake(self) -> None:
        """Ends the waiting of `hear`; for other threads."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def begin_anew(self, gone: LeaderGone | None = None) -> None:
        """Forgets every watch; the next one that is armed goes to the leader there is then."""
        self._armed.clear()
        if self._link:
            link, self._link = self._link, None
            self._exchange.let_go(link, gone)

    def close(self) -> None:
        """For good."""
        self.begin_anew()
        self._wake.close()
        self._woken.close()

    def _ask(self, kind: str, *details: object) -> int:
        link = self._connected()
        if not self._armed:
            self._heard = time.monotonic()
        return link.ask(kind, *details)

    def _connected(self) -> LeaderLink:
        if self._link is None:
            self._link = self._exchange.link()
            self._heard = time.monotonic()
        return self._link
