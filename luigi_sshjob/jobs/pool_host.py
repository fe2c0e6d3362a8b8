"""One host of a pool: what it knows about tasks, how busy it is, and the placements that it keeps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from luigi_sshjob.errors import RemoteCommandFailed, SSHJobError
from luigi_sshjob.jobs.numbers import number
from luigi_sshjob.jobs.pool import COLLECTED, Placement, Trace
from luigi_sshjob.jobs.slot_table import SlotTable, parse_slot_table
from luigi_sshjob.jobs.slots import Slots, checked_supply, directory_word
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import invalid, reading_response
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart

_IDLE = 0.1  # the load of a host that does nothing


@dataclasses.dataclass(frozen=True)
class Capacity:
    """How busy a host is; `load` is per processor. Without slots, `free` is None."""

    load: float = 0.0
    free: int | None = None
    """How many such jobs could begin now; below 0 if some would have to wait."""
    unfit: str = ""
    """Why the job should not be there, if any other host is left."""


@dataclasses.dataclass(frozen=True)
class HostView:
    """The response of one host; `traces` are those of the tasks that it knows, by key."""

    traces: Mapping[str, Trace]
    load: float
    """Per processor, over the last minute; infinite if it is unknown."""
    cores: int = 1
    table: SlotTable | None = None
    refusal: str = ""
    """Why no job could be submitted there, or none with slots."""

    def trace(self, key: str) -> Trace:
        """What the host knows about a task."""
        return self.traces.get(key, Trace())

    def capacity(self, needed: Slots, sent: Mapping[str, Slots]) -> Capacity:
        """For a job that needs these slots; `sent` are those of tasks that were just sent there, by key."""
        if self.refusal or not needed or self.table is None:
            return Capacity(self.load, None, self.refusal)
        table = self.table
        supply = {each.name: each.supply or 0 for each in table.resources}
        shown = {user.job.rpartition("/")[0] for user in (*table.holders, *table.queue)}
        unseen = [slots for key, slots in sent.items() if key not in shown]
        free = []
        for name, count in needed.needed:
            there = supply.get(name, 0)
            if there < count:
                return Capacity(self.load, 0, f"it has {there} {name}, and {count} are needed")
            taken = sum(each.used for each in table.resources if each.name == name)
            taken += sum(number for slots in unseen for other, number in slots.needed if other == name)
            waiting = sum(user.needed.get(name, 0) for user in table.queue)
            free.append((there - taken - waiting) // count)
        return Capacity(self.load, min(free))


def look(connection: Connection, base_dir: str, keys: Sequence[str], *, capacity: bool, slots: bool) -> HostView:
    """Asks the host about tasks, with `capacity` also how busy it is, and with `slots` who has those.

    Raises the errors of a request.
    """
    settings = connection.settings
    base = quoting.directory_word(base_dir)
    supply = checked_supply(settings.slots)
    words = (base, "slots" if slots else "load" if capacity else "", directory_word(settings.slots_dir), supply, *keys)
    response = connection.request("pool_look", *words)
    with reading_response("pool_look", connection.host):
        traces: dict[int, dict[str, ResponsePart]] = {}
        load, cores, refusal = 0.0, 1, ""
        for part in response.parts:
            if part.kind in ("trace", "published", "placement"):
                traces.setdefault(part.index, {})[part.kind] = part
            elif part.kind == "load":
                load, cores = _load(part.value)
            elif part.kind == "unwritable":
                refusal = f"no file can be written there: {quoting.decode(part.content).strip()}"
            elif part.kind == "refused" and capacity:
                refusal = quoting.decode(part.content).strip()
        found = {keys[index]: _trace(parts) for index, parts in traces.items()}
        table = parse_slot_table(response.parts) if slots else None
        return HostView(found, load, cores, table, refusal)


def write(
    connection: Connection, base_dir: str, placements: Mapping[str, Placement]
) -> tuple[dict[str, Placement], dict[str, SSHJobError]]:
    """Writes placements, unless the host has one of that or a higher generation.

    Returns those that it has, and the errors of the others, by key.
    """
    keys = list(placements)
    words = [word for key in keys for word in (key, str(placements[key].generation), placements[key].text)]
    response = connection.request("pool_write", quoting.directory_word(base_dir), *words)
    with reading_response("pool_write", connection.host):
        found = {keys[part.index]: _placement(part) for part in response.parts if part.kind == "placement"}
        refused: dict[str, SSHJobError] = {
            keys[part.index]: RemoteCommandFailed(
                f"cannot write the placement of a task: {quoting.decode(part.content).strip()}",
                host=connection.host,
                job=keys[part.index],
                next_step="free disk space on the host, or correct the permissions of base_dir there",
            )
            for part in response.parts
            if part.kind == "unwritten"
        }
        if found.keys() | refused.keys() != set(keys):
            raise invalid(connection.host, "pool_write", "a placement is missing")
        return found, refused


def _load(text: str) -> tuple[float, int]:
    """Per processor, and the number of those; infinite and 1 if the host does not report them."""
    average, _, count = text.partition(" ")
    cores = max(1, number(count) or 1)
    try:
        load = float(average) / cores
    except ValueError:
        return math.inf, cores
    return load if math.isfinite(load) else math.inf, cores


def _trace(parts: Mapping[str, ResponsePart]) -> Trace:
    attempt, state = 0, ""
    if "trace" in parts:
        text, _, state = parts["trace"].value.partition(" ")
        attempt = number(text) or 0
    return Trace(
        attempt=attempt,
        # a mark that an earlier version has made, or a damaged one, is one of a collected attempt
        state="" if state == "-" else state or COLLECTED if attempt else "",
        published="published" in parts,
        placement=_placement(parts["placement"]) if "placement" in parts else None,
    )


def _placement(part: ResponsePart) -> Placement:
    return Placement.parse(number(part.value) or 0, quoting.decode(part.content).rstrip("\n"))


def rank(
    capacities: Mapping[str, Capacity], sent: Mapping[str, float], draw: Callable[[], float], *, spread: bool = False
) -> list[str]:
    """The hosts, the best one for another job first: by free slots, then by load.

    `sent` are the jobs that were sent there, but are not part of the load yet. `draw` returns random numbers between 0
    and 1, for equal hosts. With `spread` hosts with room are in a random order, in which a host is the more often first
    the more room it has: for processes that choose at the same time, and would all take the same one.
    """

    def key(host: str) -> tuple[bool, float, float, float]:
        capacity = capacities[host]
        load = capacity.load + sent.get(host, 0.0)
        free = math.inf if capacity.free is None else float(capacity.free)
        if spread and free > 0:
            # the smallest of numbers with exponential distributions
            weight = 1 / (_IDLE + load) if capacity.free is None else free
            return bool(capacity.unfit), -math.inf, -math.log(max(draw(), _IDLE**9)) / weight, 0.0
        return bool(capacity.unfit), -free, load, draw()

    return sorted(capacities, key=key)
