"""The leader: of all processes of this account the one that holds the remote shell of a host, and asks for all.

It is a thread in a process that asked first. Others send it their requests over a socket; it sends them on as they
come, without waiting for one answer before the next request, and looks at all watched jobs with one request. It keeps
nothing that would be missed: whoever is left without an answer asks the next leader.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import selectors
import socket
import threading
import time
from typing import Any

from luigi_sshjob.ssh.leader.listener import Listener, Peer
from luigi_sshjob.ssh.leader.pipeline import LeaderMoved, Pipeline, Request
from luigi_sshjob.ssh.local.file_lock import FileLock
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart
from luigi_sshjob.ssh.transports.base import Transport

logger = logging.getLogger("luigi-interface")

HEARTBEAT = 2.0  # seconds between two signs of life to whoever waits for an answer
_IDLE_CLOSE = 60.0  # seconds an unused shell keeps its session while nobody waits for it
_ATTENTION = 0.25  # seconds between two looks at whether somebody waits for a session, or has deposed us
_FIRST_PAUSE = 0.1  # seconds between two looks while there is news
_SLOWING = 1.15  # each look without news makes the pause so much longer


@dataclasses.dataclass(eq=False)
class Subscription:
    """What a peer wants to be told of when it has changed; `number` is that of its request while it waits."""

    identity: int
    peer: Peer
    topic: str
    interval: float
    number: int | None = None


class Leader:
    """Serves the socket at `address` for as long as `lock` is held."""

    def __init__(self, transport: Transport, lock: FileLock, address: str):
        self._transport = transport
        self._lock = lock
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda _: self._woken.recv(1000))
        self._peers = Listener(address, self._selector, self._asked, self._gone)
        self._pipeline = Pipeline(transport, self._selector, self._wake_up, self._lost)
        self._watches: dict[int, Subscription] = {}
        self._topics: dict[tuple[Peer, str], Subscription] = {}
        self._watch_count = 0
        self._looking = self._closing = self._deposed = False
        self.failure: OSError | None = None
        """Why it has given up, where this machine did not let it go on."""
        self._pause = _FIRST_PAUSE
        self._next_look = self._next_beat = self._next_attention = time.monotonic()
        name = f"sshjob {transport.destination}"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def serves(self) -> bool:
        """Whether it still does."""
        return self._thread.is_alive()

    def close(self, patience: float = 5.0) -> None:
        """Sends everybody to the next leader; what was asked is answered before, within `patience` seconds."""
        self._closing = True
        self._wake_up()
        self._thread.join(patience)

    def detach_after_fork(self) -> None:
        """For a forked child: lets go of what is its parent's."""
        self._peers.close()
        self._pipeline.detach_after_fork()
        self._wake.close()
        self._woken.close()
        self._selector.close()

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def _serve(self) -> None:
        try:
            while not (self._deposed or (self._closing and not self._pipeline.busy and self._peers.all_told)):
                for key, events in self._selector.select(max(0.0, self._next_moment() - time.monotonic())):
                    key.data(events)
                self._tend()
        except OSError as error:
            # whoever asks in this process is told; others find another leader
            self.failure = error
        except Exception:
            logger.exception("%s: the shared connection is given up by this process", self._transport.destination)
        finally:
            self._end()

    def _end(self) -> None:
        # looked at now: deposed since the last look, these would be the next leader's
        if self._lock.is_current():
            # before the lock is free, for the same reason
            for path in (self._address, self._lock.path):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        self._lock.release()
        self._peers.close()
        self._pipeline.close()
        with contextlib.suppress(OSError):
            self._transport.session_limiter.sweep()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    # -- what is due

    def _next_moment(self) -> float:
        moments = [self._next_attention]
        if self._peers.waiting:
            moments.append(self._next_beat)
        if self._wants_look():
            moments.append(self._next_look)
        return min(moments)

    def _tend(self) -> None:
        self._pipeline.tend()
        if self._closing:
            self._send_away()
        now = time.monotonic()
        if self._wants_look() and now >= self._next_look:
            self._looking = True
            self._pipeline.ask(Request("watch_look", self._looked))
        if now >= self._next_beat:
            self._next_beat = now + HEARTBEAT
            self._peers.beat()
        if now >= self._next_attention:
            self._next_attention = now + _ATTENTION
            self._attend(now)

    def _attend(self, now: float) -> None:
        self._deposed = not self._lock.is_current()
        session_limiter = self._transport.session_limiter
        if self._pipeline.open and not self._pipeline.busy:
            # with one session for all even watching has to pause while somebody transfers a file
            idle = not self._armed() or session_limiter.limit == 1
            if now - self._pipeline.used > _IDLE_CLOSE or (idle and session_limiter.has_waiters()):
                self._pipeline.drop()
                self._forget_watches("moved", None)

    def _armed(self) -> bool:
        return any(watch.number is not None for watch in self._watches.values())

    def _wants_look(self) -> bool:
        return self._pipeline.open and not self._looking and not self._closing and self._armed()

    def _send_away(self) -> None:
        self._peers.admit_no_more()
        self._pipeline.send_away()
        self._forget_watches("moved", None)

    # -- requests

    def _asked(self, peer: Peer, kind: str, number: int, details: list[Any]) -> None:
        if self._closing:
            self._peers.send(peer, "moved", number, None)
        elif kind == "call":
            self._call(peer, number, *details)
        elif kind == "drop":
            # nobody waits for an answer to this
            peer.waits_for.discard(number)
            self._drop([watch for topic in details[0] if (watch := self._topics.get((peer, topic)))])
        else:
            self._arm(peer, number, *details)

    def _call(self, peer: Peer, number: int, text: str) -> None:
        def answered(answer: Response) -> None:
            self._peers.send(peer, "answer", number, answer)

        def failed(error: Exception) -> None:
            self._peers.send(peer, "moved" if isinstance(error, LeaderMoved) else "error", number, error)

        self._pipeline.ask(Request(text, answered, failed))

    def _gone(self, peer: Peer) -> None:
        self._drop([watch for watch in self._watches.values() if watch.peer is peer])

    def _drop(self, watches: list[Subscription]) -> None:
        for watch in watches:
            del self._watches[watch.identity], self._topics[watch.peer, watch.topic]
        if watches and self._pipeline.open:
            self._pipeline.ask(Request(f"watch_drop {' '.join(str(watch.identity) for watch in watches)}"))

    # -- watching

    def _arm(self, peer: Peer, number: int, topic: str, words: str, interval: float, urgent: bool) -> None:
        watch = self._topics.get((peer, topic))
        if watch is None:
            self._watch_count += 1
            watch = self._topics[peer, topic] = Subscription(self._watch_count, peer, topic, interval)
            self._watches[watch.identity] = watch
        watch.number = number
        self._pipeline.ask(Request(f"watch_arm {watch.identity} {words}"))
        # many that are armed one after the other do not cost a look each
        soonest = 0.0 if urgent else self._pipeline.used + _FIRST_PAUSE / 2 + len(self._watches) / 1000
        self._next_look = min(self._next_look, soonest)

    def _looked(self, answer: Response) -> None:
        self._looking = False
        news: dict[int, list[ResponsePart]] = {}
        for part in answer.parts:
            news.setdefault(part.index, []).append(part)
        self._pause = _FIRST_PAUSE if news else self._pause * _SLOWING
        intervals = [watch.interval for watch in self._watches.values() if watch.number is not None]
        self._pause = min([self._pause, *intervals])
        self._next_look = time.monotonic() + self._pause
        for identity, parts in news.items():
            if identity in self._watches:
                self._tell(self._watches[identity], "answer", Response(0, b"", tuple(parts)))

    def _lost(self, error: Exception) -> None:
        self._forget_watches("error", error)

    def _forget_watches(self, kind: str, content: object) -> None:
        """The far side knows of none any more: whoever watches asks again."""
        watches, self._watches = self._watches, {}
        self._topics.clear()
        self._looking = False
        for watch in watches.values():
            self._tell(watch, kind, content)

    def _tell(self, watch: Subscription, kind: str, content: object) -> None:
        if watch.number is not None:
            number, watch.number = watch.number, None
            self._peers.send(watch.peer, kind, number, content)
