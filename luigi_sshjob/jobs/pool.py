"""On which of several hosts the next attempt of a task is made, so that it is made once. No I/O.

A placement names the host of the next attempt, and the number of the latest attempt there when it was chosen. It is
written on all hosts that respond, in the same order by all clients, before the attempt is claimed;
remote/server/pool.sh keeps the first one of each generation. A client that finds another one on a host goes on with
that, so all end with the placement of the last host. Nothing is claimed on a host that has not confirmed it. The claim
is for the attempt after that number only: it fails if that one was collected meanwhile, and then the client looks
again. A later generation is begun only when that attempt was collected; or with the same host, if hosts have different
placements of a generation, which clients that reach different hosts leave behind.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator, Mapping, Sequence

_PLACEMENT = re.compile(r"(\S+) (\d{1,9})")

COLLECTED, RETRIED, ELSEWHERE = "collected", "retried", "elsewhere"
LOOKED_AT = "its outputs are looked for there"
"""The reason of a plan for an attempt that was collected; another plan follows if there are none."""
FAILED = "failed"
"""Of an attempt that this machine has collected; it has left no outputs."""

MACHINE = "\U0010ffff"
"""In place of a host, the machine on which Luigi runs; the last one in any order, as it knows what was agreed on."""


class Superseded(Exception):
    """The attempt of a claim was collected before, so where the next one belongs has to be decided again."""

    def __init__(self, attempt: int):
        super().__init__(attempt)
        self.attempt = attempt
        """The latest one on the host; another one is wanted."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """The host of the next attempt of a task, and the number of the latest attempt there before it.

    One without a host is damaged: its host is unknown.
    """

    generation: int
    host: str
    number: int

    @property
    def text(self) -> str:
        """The line in its file."""
        return f"{self.host} {self.number}"

    @classmethod
    def parse(cls, generation: int, line: str) -> Placement:
        """The inverse of `text`; anything else is damaged."""
        match = _PLACEMENT.fullmatch(line)
        return cls(generation, match[1], int(match[2])) if match else cls(generation, "", 0)


@dataclasses.dataclass(frozen=True)
class Trace:
    """What one host knows about a task."""

    attempt: int = 0
    """The number of the latest one, 0 for none."""
    state: str = ""
    """That of the latest attempt, `COLLECTED`, or `RETRIED` if its client goes on with another one; empty for none."""
    published: bool = False
    placement: Placement | None = None

    @property
    def open(self) -> bool:
        """Whether the latest attempt was not collected."""
        return self.state not in ("", COLLECTED, RETRIED, FAILED)


@dataclasses.dataclass(frozen=True)
class LocalRecord:
    """What the machine on which Luigi runs remembers of a task, for the time in which the host does not respond."""

    placement: Placement
    collected: int = 0
    """The attempt on that host that it has collected as a failure, 0 for none."""

    def add_to(self, traces: Mapping[str, Trace]) -> Mapping[str, Trace]:
        """Adds the record to what hosts know. A host that responds has precedence."""
        placement = self.placement
        if placement.host in traces:
            return traces
        if self.collected > placement.number:
            return {**traces, placement.host: Trace(self.collected, FAILED, placement=placement)}
        return {**traces, MACHINE: Trace(placement=placement)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where to submit: the claim is for the attempt after number `known`, once all hosts have the placement."""

    placement: Placement
    known: int
    reason: str

    @property
    def host(self) -> str:
        """The host of the placement."""
        return self.placement.host


def latest_placement(traces: Mapping[str, Trace]) -> Placement | None:
    """The one that counts: of the highest generation, and if there are several that of the last host in order."""
    found = [(each.generation, bool(each.host), name) for name, trace in traces.items() if (each := trace.placement)]
    return traces[max(found)[2]].placement if found else None


def negotiation(
    wanted: Placement, traces: Mapping[str, Trace]
) -> Generator[tuple[str, Placement], Placement | None, Placement | None]:
    """Yields a host and the placement to write there, and receives the one that it has, None if it has not responded.

    Returns the one to go on with, None if all hosts have to be looked at again: the host may have got it, or it has
    another one of the same generation than those before it.
    """
    placement = wanted
    for position, host in enumerate(sorted(traces)):
        if traces[host].placement == placement:
            continue
        found = yield host, placement
        if found is None:
            return None
        if not found.host and found.generation == placement.generation:
            # a damaged copy
            continue
        if found != placement and (position > 0 or not found.host):
            return None
        placement = found
    return placement


def decide(
    hosts: Sequence[str],
    traces: Mapping[str, Trace],
    superseded: Mapping[str, int],
    choose: Callable[[], tuple[str, str]],
) -> Plan | None:
    """Where the next attempt of a task belongs; `traces` are those of the hosts that have responded, at least one.

    `superseded` has the attempts of which the caller knows that they were collected and that a new one is wanted, by
    host. `choose` returns a host for a new attempt, and the reason. None if the placement that counts is damaged.
    """
    latest = latest_placement(traces)
    placement = latest if latest and latest.host in hosts else None
    generation = latest.generation + 1 if latest else 1
    if placement and _is_disputed(placement, traces):
        placement = dataclasses.replace(placement, generation=generation)
    if found := _attempt_to_find(hosts, traces, superseded, placement):
        host, known, reason = found
        kept = placement and placement.host == host
        return Plan(placement if placement and kept else Placement(generation, host, known), known, reason)
    if latest and not latest.host:
        return None
    if placement:
        trace = traces.get(placement.host)
        if trace is None:
            return Plan(placement, placement.number, "an attempt may be there")
        if trace.attempt < placement.number:
            # attempts were removed: it could be taken for the placement of one of the next attempt but one
            placement = Placement(generation, placement.host, trace.attempt)
        if trace.attempt == placement.number or trace.state in ("", RETRIED):
            return Plan(placement, trace.attempt, "it was chosen before")
    host, reason = choose()
    number = traces[host].attempt
    return Plan(Placement(generation, host, number), number, reason)


def _is_disputed(placement: Placement, traces: Mapping[str, Trace]) -> bool:
    """Whether hosts have different ones of this generation, of which without the last host another one would count."""
    others = [trace.placement for trace in traces.values() if trace.placement and trace.placement.host]
    return any(other.generation == placement.generation and other != placement for other in others)


def _attempt_to_find(
    hosts: Sequence[str], traces: Mapping[str, Trace], superseded: Mapping[str, int], placement: Placement | None
) -> tuple[str, int, str] | None:
    """An attempt that is there; or one that was collected, whose outputs may make another attempt unnecessary.

    Returns the host, the number of the attempt before, and the reason.
    """
    placed = placement.host if placement else None
    # of hosts that share the directory, the one that runs it
    host = _first(hosts, traces, placed, lambda name: traces[name].open and traces[name].state != ELSEWHERE) or _first(
        hosts, traces, placed, lambda name: traces[name].open
    )
    if host:
        return host, traces[host].attempt - 1, f"attempt {traces[host].attempt} is there"
    retried = _first(hosts, traces, placed, lambda name: traces[name].state == RETRIED)
    if retried and not placed:
        return retried, traces[retried].attempt, "its attempts are retried there"

    def may_have_outputs(name: str) -> bool:
        trace = traces[name]
        last = placement is not None and name == placed and trace.attempt > placement.number
        return trace.state == COLLECTED and trace.attempt > superseded.get(name, 0) and (last or trace.published)

    host = _first(hosts, traces, placed, may_have_outputs)
    return (host, traces[host].attempt - 1, LOOKED_AT) if host else None


def _first(
    hosts: Sequence[str], traces: Mapping[str, Trace], placed: str | None, matches: Callable[[str], object]
) -> str | None:
    """The first host that matches, or the one of the placement if that does."""
    matching = [host for host in hosts if host in traces and matches(host)]
    return placed if placed in matching else next(iter(matching), None)


def awaited(traces: Mapping[str, Trace]) -> str | None:
    """The host without which nothing can be said about a task: that of its placement, unless the attempt is known."""
    placement = latest_placement(traces)
    if placement is None or not placement.host or any(trace.open or trace.published for trace in traces.values()):
        return None
    trace = traces.get(placement.host)
    known = trace and (trace.state != FAILED or trace.attempt > placement.number)
    return None if known else placement.host


def location(hosts: Sequence[str], traces: Mapping[str, Trace]) -> str | None:
    """Where a task is, for its outputs and its job; None if nothing says that it ever was anywhere."""
    placement = latest_placement(traces)
    placed = placement.host if placement and placement.host in hosts else None
    return (
        _first(hosts, traces, placed, lambda name: traces[name].published)
        or _first(hosts, traces, placed, lambda name: traces[name].open)
        or placed
        or _first(hosts, traces, placed, lambda name: traces[name].attempt)
    )
