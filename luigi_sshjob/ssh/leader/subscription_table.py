"""The leader's side of subscriptions: one request to the host looks at the jobs of all clients."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence

from luigi_sshjob.ssh.leader.listener import Listener, Peer
from luigi_sshjob.ssh.leader.pipeline import Pipeline, Request
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

_FIRST_PAUSE = 0.1  # seconds between two looks while there are changes
_SLOWDOWN = 1.15  # factor by which each look without changes makes the pause longer
_RENEWAL = 0.001  # seconds in which a client renews one of many subscriptions


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
        self._looking = False
        self._pause = _FIRST_PAUSE
        self._next_look = time.monotonic()

    @property
    def active(self) -> bool:
        """Whether any client waits for a notification."""
        return any(subscription.number is not None for subscription in self._by_id.values())

    def next_look(self) -> float:
        """When to call `look_if_due` (`time.monotonic()`); infinity if there is nothing to look at."""
        return self._next_look if self._pipeline.is_open and not self._looking and self.active else math.inf

    def look_if_due(self) -> None:
        """Looks at all subscribed jobs with one request."""
        if time.monotonic() >= self.next_look():
            self._looking = True
            self._pipeline.send(Request("poll_subscriptions", self._on_look))

    def subscribe(self, peer: Peer, number: int, topic: str, words: str, interval: float, urgent: bool) -> None:
        """Creates or renews a subscription."""
        subscription = self._by_topic.get((peer, topic))
        if subscription is None:
            self._count += 1
            subscription = self._by_topic[peer, topic] = Subscription(self._count, peer, topic, interval)
            self._by_id[subscription.identity] = subscription
        subscription.number = number
        self._pipeline.send(Request(f"subscribe {subscription.identity} {words}"))
        # After a notification the client renews its subscriptions one by one. A look for each of them would cost much
        # more than one look for all, so the next one leaves time for that, in proportion to their number.
        renewed = self._pipeline.last_used + _FIRST_PAUSE / 2 + len(self._by_id) * _RENEWAL
        self._next_look = min(self._next_look, 0.0 if urgent else renewed)

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
        self._next_look = time.monotonic() + self._pause
        for identity, parts in changes.items():
            if identity in self._by_id:
                self._notify(self._by_id[identity], "response", Response(0, b"", tuple(parts)))

    def _notify(self, subscription: Subscription, kind: str, content: Response | Exception | None) -> None:
        if subscription.number is not None:
            number, subscription.number = subscription.number, None
            self._listener.send(subscription.peer, kind, number, content)
