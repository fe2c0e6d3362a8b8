"""The leader's side of subscriptions: one request to the host looks at the jobs of all clients."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence

from luigi_sshjob.ssh.leader.listener import Listener, Peer
from luigi_sshjob.ssh.leader.pipeline import Pipeline, Request
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

_FIRST_PAUSE = 0.02  # seconds between two looks while there are changes
_SLOWDOWN = 1.15  # factor by which each look without changes makes the pause longer
_IDLE = 9  # the least pause, as a multiple of the time that the host needs for the look,
_LONGEST_IDLE, _LONGEST_IDLE_OF_ALL = 2.0, 10.0  # and its limits in seconds
_REMEMBERED = 3  # looks of each kind, of which the fastest counts: one may be slow by chance
_ALL = 0.007  # seconds for each job between two looks at all jobs


@dataclasses.dataclass(eq=False)
class Subscription:
    """A client's subscription to a topic. `identity` is its number on the host, see remote/server/watch.sh."""

    identity: int
    peer: Peer
    topic: str
    interval: float
    number: int | None = None
    """The request to be answered by the next notification; None until the client renews the subscription."""


class SubscriptionTable:
    """All subscriptions of all clients."""

    def __init__(self, pipeline: Pipeline, listener: Listener):
        self._pipeline = pipeline
        self._listener = listener
        self._by_id: dict[int, Subscription] = {}
        self._by_topic: dict[tuple[Peer, str], Subscription] = {}
        self._count = 0
        self._looking = self._all = False
        self._busy: dict[bool, deque[float]] = {kind: deque(maxlen=_REMEMBERED) for kind in (False, True)}
        self._pause = _FIRST_PAUSE
        self._next_look = self._next_of_all = 0.0

    @property
    def active(self) -> bool:
        """Whether any client waits for a notification."""
        return any(subscription.number is not None for subscription in self._by_id.values())

    def next_look(self) -> float:
        """When to call `look_if_due` (`time.monotonic()`); infinity if there is nothing to look at."""
        return self._next_look if self._pipeline.is_open and not self._looking and self.active else math.inf

    def look_if_due(self) -> None:
        """Looks at the subscribed jobs with one request: at those that may change soon, and now and then at all.

        See remote/server/watch.sh. The second kind costs more with more jobs, so it comes less often then.
        """
        if time.monotonic() >= self.next_look():
            self._looking = True
            self._all = time.monotonic() >= self._next_of_all
            self._pipeline.send(Request(f"poll_subscriptions {'all' if self._all else 'recent'}", self._on_look))

    def subscribe(self, peer: Peer, number: int, topic: str, words: str, interval: float, urgent: bool) -> None:
        """Creates or renews a subscription."""
        subscription = self._by_topic.get((peer, topic))
        if subscription is None:
            self._count += 1
            subscription = self._by_topic[peer, topic] = Subscription(self._count, peer, topic, interval)
            self._by_id[subscription.identity] = subscription
        subscription.number = number
        self._pipeline.send(Request(f"subscribe {subscription.identity} {words}"))
        # after a notification the client renews its subscriptions one by one: not a look for each of them
        self._next_look = min(self._next_look, 0.0 if urgent else time.monotonic() + _FIRST_PAUSE)

    def unsubscribe(self, peer: Peer, topics: Iterable[str]) -> None:
        """Removes subscriptions of a client."""
        self._remove([subscription for topic in set(topics) if (subscription := self._by_topic.get((peer, topic)))])

    def unsubscribe_all(self, peer: Peer) -> None:
        """Removes the subscriptions of a client that left."""
        self._remove([subscription for subscription in self._by_id.values() if subscription.peer is peer])

    def reset(self, kind: str, content: Exception | None) -> None:
        """Forgets all subscriptions, as the host does with its shell, and notifies the clients with `content`."""
        subscriptions, self._by_id = self._by_id, {}
        self._by_topic.clear()
        self._looking = False
        for subscription in subscriptions.values():
            self._notify(subscription, kind, content)

    def _remove(self, subscriptions: Sequence[Subscription]) -> None:
        for subscription in subscriptions:
            del self._by_id[subscription.identity], self._by_topic[subscription.peer, subscription.topic]
        if subscriptions and self._pipeline.is_open:
            numbers = " ".join(str(subscription.identity) for subscription in subscriptions)
            self._pipeline.send(Request(f"unsubscribe {numbers}"))

    def _on_look(self, response: Response) -> None:
        self._looking = False
        changes: dict[int, list[ResponsePart]] = {}
        for part in response.parts:
            changes.setdefault(part.index, []).append(part)
        intervals = [subscription.interval for subscription in self._by_id.values() if subscription.number is not None]
        self._pause = min([_FIRST_PAUSE if changes else self._pause * _SLOWDOWN, *intervals])
        looks = self._busy[self._all]
        looks.append(self._pipeline.service_time.seconds)
        now, busy = time.monotonic(), min(looks)
        # what a look has found is work that has to be done in any case
        self._next_look = now + max(self._pause, busy if changes else min(_IDLE * busy, _LONGEST_IDLE))
        if self._all:
            self._next_of_all = now + max(_ALL * len(self._by_id), min(_IDLE * busy, _LONGEST_IDLE_OF_ALL))
        for identity, parts in changes.items():
            if identity in self._by_id:
                self._notify(self._by_id[identity], "response", Response(0, b"", tuple(parts)))

    def _notify(self, subscription: Subscription, kind: str, content: Response | Exception | None) -> None:
        if subscription.number is not None:
            number, subscription.number = subscription.number, None
            self._listener.send(subscription.peer, kind, number, content)
