"""Subscriptions of one thread to changes on a host, over one link to the leader."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence

from luigi_sshjob.ssh.leader.client import LeaderClient
from luigi_sshjob.ssh.leader.link import HEARTBEAT_TIMEOUT, LeaderGone, LeaderLink
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

_PING = ""


class Subscriptions:
    """Each subscription yields one notification and is then renewed with what the subscriber knows by then.

    All methods but `wake` are for one thread. All may raise `LeaderGone`; call `reset` then.
    """

    def __init__(self, leader_client: LeaderClient):
        self._leader_client = leader_client
        self._link: LeaderLink | None = None
        self._pending: dict[int, str] = {}
        self._last_received = 0.0
        self._link_works = False
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)

    def subscribe(self, topic: str, words: Sequence[str], *, interval: float, urgent: bool) -> None:
        """Subscribes to changes of a job, see `subscribe` in remote/server/watch.sh for `words`.

        The leader looks at least every `interval` seconds, and immediately if `urgent`.
        """
        number = self._send("subscribe", topic, request_text("", *words), interval, urgent)
        self._pending[number] = topic

    def request(self, topic: str, text: str) -> None:
        """Sends the host a request whose response is received like a notification, under this topic."""
        self._pending[self._send("request", text)] = topic

    def ping(self) -> None:
        """Sends a request without an effect, under an empty topic."""
        self.request(_PING, request_text("echo_back", "here"))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Cancels subscriptions."""
        if topics and self._link:
            self._send("unsubscribe", list(topics))

    def receive(self, timeout: float) -> list[tuple[str, Response | Exception]]:
        """Waits up to `timeout` seconds, or until woken, for notifications: topics with responses or errors."""
        received: list[tuple[str, Response | Exception]] = []
        alive = not self._pending
        for kind, number, content in self._messages(timeout):
            alive = True
            # a heartbeat only shows that the leader has started
            self._link_works = self._link_works or kind in ("response", "error")
            topic = self._pending.pop(number, None)
            if kind == "rejected":
                raise LeaderGone(rejected=True)
            if topic is not None:
                assert isinstance(content, (Response, Exception))
                received.append((topic, content))
        now = time.monotonic()
        if alive:
            self._last_received = now
        elif now - self._last_received > HEARTBEAT_TIMEOUT:
            raise LeaderGone(stuck=True)
        return received

    def wake(self) -> None:
        """Ends `receive` early; for other threads."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def reset(self, gone: LeaderGone | None = None) -> None:
        """Forgets all subscriptions and the link; the next one goes to the leader of that time.

        Raises the local error that ended the leader in this process if it did so before it sent anything: the next one
        would meet the same error.
        """
        self._pending.clear()
        works, self._link_works = self._link_works, False
        if self._link:
            link, self._link = self._link, None
            self._leader_client.disconnect(link, gone)
        if gone and not works:
            self._leader_client.raise_leader_failure()

    def close(self) -> None:
        """Releases the link and all descriptors."""
        self.reset()
        self._wake.close()
        self._woken.close()

    def _messages(self, timeout: float) -> Iterator[tuple[str, int, object]]:
        if self._link is None:
            # not select(), which is limited to descriptors below 1024
            poller = select.poll()
            poller.register(self._woken, select.POLLIN)
            if poller.poll(max(0.0, timeout) * 1000):
                self._woken.recv(1000)
            return iter(())
        return self._link.receive(self._woken, timeout)

    def _send(self, kind: str, *details: object) -> int:
        if self._link is None:
            self._link = self._leader_client.connect()
        if not self._pending:
            self._last_received = time.monotonic()
        return self._link.send(kind, *details)
