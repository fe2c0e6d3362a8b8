"""Which host of a pool has the most room for another job."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from functools import partial

from luigi_sshjob.jobs.pool_host import Capacity, HostView, rank
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.retry import jitter

_UNSEEN = 5.0  # seconds after which a job that was sent has, or waits for, its slots
_AVERAGED = 60.0  # seconds over which the kernel averages the load


class LoadBalancer:
    """Chooses hosts, and remembers the jobs of this process that these may not show yet.

    With `spread` it leaves room for other processes that choose at the same time, see `rank`.
    """

    def __init__(self, *, spread: bool) -> None:
        self._spread = spread
        self._lock = threading.Lock()
        self._sent: dict[str, tuple[float, str, Slots]] = {}

    def choose(self, key: str, slots: Mapping[str, Slots], views: Mapping[str, HostView]) -> tuple[str, str]:
        """The host for a new attempt of a task that needs these slots, by host, and the reason; counts it as sent."""
        with self._lock:
            return self._choose(key, slots, views)

    def _choose(self, key: str, slots: Mapping[str, Slots], views: Mapping[str, HostView]) -> tuple[str, str]:
        now = time.monotonic()
        self._sent = {each: sent for each, sent in self._sent.items() if now - sent[0] < 5 * _AVERAGED and each != key}
        capacities, added = {}, {}
        for name, view in views.items():
            sent = {each: (now - at, needed) for each, (at, host, needed) in self._sent.items() if host == name}
            unseen = {each: needed for each, (age, needed) in sent.items() if age < _UNSEEN}
            capacities[name] = view.capacity(slots[name], unseen)
            # as much of one more process as the average does not have yet
            added[name] = sum(math.exp(-age / _AVERAGED) for age, _ in sent.values()) / view.cores
        best, *others = rank(capacities, added, partial(jitter, 0.0, 1.0), spread=self._spread)
        self._sent[key] = (now, best, slots[best])
        texts = {name: _describe(capacities[name], added[name]) for name in views}
        return best, "; not ".join([texts[best], *(f"{name}: {texts[name]}" for name in others)])


def _describe(capacity: Capacity, added: float) -> str:
    if capacity.unfit:
        return capacity.unfit
    load = capacity.load + added
    shown = f"load {load:.2f} per processor" if math.isfinite(load) else "unknown load"
    return shown if capacity.free is None else f"free slots for {max(0, capacity.free)} such jobs, {shown}"
