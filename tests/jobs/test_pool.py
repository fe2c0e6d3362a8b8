"""On which host of a pool the next attempt is made: decisions, and the protocol under all kinds of interleavings."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping

import pytest

from luigi_sshjob.jobs.pool import MACHINE, LocalRecord, Placement, Trace, awaited, decide, location, negotiation
from luigi_sshjob.jobs.pool_host import Capacity, HostView, rank
from luigi_sshjob.jobs.slot_table import Resource, SlotTable, SlotUser
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.tasks.load_balancer import LoadBalancer
from luigi_sshjob.tasks.placements import LocalRecords, damage

HOSTS = ("a", "b", "c")


@dataclasses.dataclass
class Far:
    """One host as its scripts behave: attempts by number, and the placement that counts."""

    attempts: list[str] = dataclasses.field(default_factory=list)
    placement: Placement | None = None

    def trace(self) -> Trace:
        state = self.attempts[-1] if self.attempts else ""
        return Trace(len(self.attempts), state, placement=self.placement)

    def write(self, placement: Placement) -> Placement:
        if self.placement is None or self.placement.generation < placement.generation:
            self.placement = placement
        return self.placement

    def claim(self, known: int) -> str:
        latest = len(self.attempts)
        if latest and self.attempts[-1] == "running":
            return "found"
        if latest > known:
            return "superseded"
        self.attempts.append("running")
        return "claimed"


class Machine(LocalRecords):
    """Without a disk."""

    def __init__(self) -> None:
        super().__init__({})
        self._memories: dict[str, LocalRecord] = {}

    def read(self, key: str) -> LocalRecord | None:
        return self._memories.get(key)

    def _write(self, key: str, record: LocalRecord) -> None:
        self._memories[key] = record


@dataclasses.dataclass
class Client:
    """The protocol of tasks/choosing.py and tasks/placements.py; another client may make a step at each `yield`.

    `silent` are the hosts that do not respond to it; `records` is of the machine on which it runs.
    """

    world: dict[str, Far]
    silent: set[str]
    records: Machine
    draw: random.Random
    superseded: dict[str, int] = dataclasses.field(default_factory=dict)
    at_rest: bool = True
    """Whether it is not between its look and its claim."""

    def runs(self, count: int) -> Iterator[None]:
        while count:
            self.at_rest = False
            self.reached = [host for host in self.world if host not in self.silent]
            self.traces: Mapping[str, Trace] = {}
            for host in self.reached:
                self.traces = {**self.traces, host: self.world[host].trace()}
                yield
            if record := self.records.read("Task"):
                self.traces = record.add_to(self.traces)
            plan = decide(
                list(self.world), self.traces, self.superseded, lambda: (self.draw.choice(self.reached), "drawn")
            )
            yield
            # else it waits for this host, and looks again
            if plan.host in self.reached:
                placement = yield from self.agree(plan.placement)
                if placement and placement.host in self.reached:
                    known = plan.known if placement == plan.placement else placement.number
                    count -= yield from self.run(placement.host, known)
            self.at_rest = True
            yield

    def agree(self, wanted: Placement) -> Iterator[None]:
        talk, found = negotiation(wanted, {host: self.traces[host] for host in self.reached}), None
        while True:
            try:
                host, placement = talk.send(found)
            except StopIteration as end:
                if end.value:
                    self.records.keep({"Task": end.value})
                    yield
                return end.value
            # the request or its response may be lost
            lost = self.draw.random()
            found = self.world[host].write(placement) if lost > 0.05 else None
            found = found if lost > 0.1 else None
            yield

    def run(self, host: str, known: int) -> Iterator[None]:
        result = self.world[host].claim(known)
        attempt = len(self.world[host].attempts)
        self.at_rest = True
        yield
        if result == "superseded":
            self.superseded[host] = attempt
            return 0
        # it fails, and the next run of the task follows
        self.world[host].attempts[attempt - 1] = "collected"
        yield
        self.records.record_failure("Task", host, attempt)
        yield
        return 1


def simulate(hosts: str, draw: random.Random, change: Callable[[list[Client]], None]) -> None:
    """Three clients on two machines, of which each may be killed at any step. `change` has hosts fall silent."""
    world, machines = {host: Far() for host in hosts}, [Machine(), Machine()]
    clients = [Client(world, set(), draw.choice(machines), draw) for _ in range(3)]
    steps = [(each, each.runs(draw.randint(1, 3))) for each in clients]
    for _ in range(200):
        if not steps:
            break
        change([each for each, _ in steps])
        now = draw.choice(steps)
        if next(now[1], "over") == "over" or draw.random() < 0.01:
            steps.remove(now)
        running = [host for host in world if "running" in world[host].attempts]
        assert len(running) < 2, world


@pytest.mark.parametrize("dead", ["a", "b", "c", ""])
def test_no_task_runs_twice_at_once_whatever_clients_do_at_the_same_time(dead):
    # One host responds to a client or not, at any time. Which one it is differs, so no order can be right by luck.
    for seed in range(2000):
        draw = random.Random(f"{dead} {seed}")

        def change(clients: list[Client], draw=draw) -> None:
            each = draw.choice(clients)
            each.silent = {dead} if draw.random() < 0.3 else set()

        simulate("abc", draw, change)


def test_no_task_runs_twice_when_one_host_after_the_other_is_gone():
    # Any one of three hosts, but another one only when no client is between its look and its claim. A client may reach
    # less than the others.
    for seed in range(4000):
        draw, gone = random.Random(seed), [""]

        def change(clients: list[Client], draw=draw, gone=gone) -> None:
            if draw.random() < 0.1 and all(each.at_rest for each in clients):
                gone[0] = draw.choice("abc")
                for each in clients:
                    each.silent = {gone[0]} if draw.random() < 0.7 else set()

        simulate("abc", draw, change)


def test_an_attempt_that_was_not_collected_is_attached_to_wherever_it_is():
    traces = {
        "a": Trace(3, "elsewhere", placement=Placement(1, "c", 1)),
        "b": Trace(3, "running"),
        "c": Trace(2, "collected"),
    }
    plan = decide(HOSTS, traces, {}, lambda: pytest.fail("a choice"))
    # and is noted, as nobody else may know of it
    assert (plan.known, plan.placement) == (2, Placement(2, "b", 2))


@pytest.mark.parametrize(
    ("traces", "host", "known", "generation"),
    [
        # its host does not respond
        ({"b": Trace(placement=Placement(4, "a", 7))}, "a", 7, 4),
        # the claim is under way, or its client was killed before it
        ({"a": Trace(7, "collected", placement=Placement(4, "a", 7))}, "a", 7, 4),
        # of two clients that have chosen at once, that with the last host
        ({"a": Trace(placement=Placement(1, "b", 0)), "b": Trace(placement=Placement(1, "a", 0))}, "a", 0, 2),
        # its client goes on with the next attempt
        ({"a": Trace(8, "retried", placement=Placement(4, "a", 7))}, "a", 8, 4),
        # attempts were removed since
        ({"a": Trace(2, "collected", placement=Placement(4, "a", 7))}, "a", 2, 5),
        # it was collected, but its outputs may be there
        ({"a": Trace(8, "collected", placement=Placement(4, "a", 7))}, "a", 7, 4),
        # one of the hosts has a damaged file
        ({"b": Trace(placement=Placement(4, "a", 7)), "c": Trace(placement=Placement(4, "", 0))}, "a", 7, 4),
        # of a time without a pool
        ({"b": Trace(2, "collected", published=True)}, "b", 1, 1),
        ({"b": Trace(2, "retried")}, "b", 2, 1),
    ],
)
def test_the_next_attempt_belongs_to_the_host_of_the_last_one_until_that_was_collected(traces, host, known, generation):
    plan = decide(HOSTS, traces, {}, lambda: pytest.fail("a choice"))
    assert (plan.host, plan.known, plan.placement.generation) == (host, known, generation)


@pytest.mark.parametrize(
    ("traces", "generation"),
    [
        ({"b": Trace()}, 1),
        ({"b": Trace(), "a": Trace(8, "collected", placement=Placement(4, "a", 7))}, 5),
        # its host is not in the pool any more
        ({"b": Trace(placement=Placement(4, "gone", 7))}, 5),
        # this machine knows that the attempt has failed on a host that does not respond
        (LocalRecord(Placement(4, "a", 7), 8).add_to({"b": Trace(placement=Placement(4, "a", 7))}), 5),
    ],
)
def test_a_host_is_chosen_when_nothing_is_left_of_the_last_attempt(traces, generation):
    plan = decide(HOSTS, traces, {"a": 8}, lambda: ("b", "it is free"))
    assert (plan.host, plan.known, plan.placement) == ("b", 0, Placement(generation, "b", 0))


def test_outputs_are_where_the_record_is_and_a_job_where_the_placement_says():
    traces = {
        "a": Trace(1, "collected", published=True),
        "b": Trace(placement=Placement(3, "c", 0)),
        "c": Trace(2, "collected"),
    }
    assert location(HOSTS, traces) == "a"
    del traces["a"]
    assert location(HOSTS, traces) == "c"
    assert location(HOSTS, {"b": Trace(placement=Placement(3, "c", 0))}) == "c"
    assert location(HOSTS, {"b": Trace()}) is None
    # of a time without a pool
    assert location(HOSTS, {"a": Trace(1, "collected"), "b": Trace(2, "running")}) == "b"
    assert location(HOSTS, {"a": Trace(1, "collected")}) == "a"


@pytest.mark.parametrize("line", ["", "a", "a b", "a 1 2", "a 1x", "1", "a " + "9" * 99])
def test_a_damaged_placement_stops_its_own_task_only_and_says_where_it_is(line):
    damaged = Placement.parse(3, line)
    assert damaged == Placement(3, "", 0)
    assert Placement.parse(1, Placement(1, "me@a:22", 3).text) == Placement(1, "me@a:22", 3)
    traces = {"a": Trace(), "b": Trace(1, "collected", placement=damaged)}
    assert decide(HOSTS, traces, {"b": 1}, lambda: pytest.fail("a choice")) is None
    assert re.search(r"^host b, job Task: .* damaged: pools/Task/3\nNext: .*remove that", str(damage(traces, "Task")))
    # a later one, and one that another host has, count; so does an attempt that is there
    for other in (Trace(placement=Placement(4, "a", 0)), Trace(placement=Placement(3, "a", 0)), Trace(1, "running")):
        known = {**traces, "a": other}
        assert decide(HOSTS, known, {"b": 1}, lambda: pytest.fail("a choice")).host == "a"
    # a copy of the own one may be damaged, but not one of a later generation
    for mine, agreed in ((Placement(3, "b", 0), Placement(3, "b", 0)), (Placement(2, "b", 0), None)):
        talk = negotiation(mine, {"a": Trace()})
        assert next(talk) == ("a", mine)
        with pytest.raises(StopIteration) as end:
            talk.send(damaged)
        assert end.value.value == agreed


def test_placements_that_differ_are_replaced_by_one_of_the_next_generation():
    traces = {"a": Trace(placement=Placement(3, "a", 0)), "b": Trace(placement=Placement(3, "b", 0)), "c": Trace()}
    plan = decide(HOSTS, traces, {}, lambda: pytest.fail("a choice"))
    assert (plan.placement, plan.known) == (Placement(4, "b", 0), 0)
    # and hosts are looked at again by the one that finds out
    talk = negotiation(Placement(3, "a", 0), {"a": traces["a"], "b": Trace()})
    assert next(talk) == ("b", Placement(3, "a", 0))
    with pytest.raises(StopIteration) as end:
        talk.send(Placement(3, "b", 0))
    assert end.value.value is None


def test_the_host_of_a_placement_is_awaited_unless_the_attempt_is_known():
    placed = Trace(placement=Placement(3, "a", 7))
    assert awaited({"b": placed}) == "a"
    assert awaited({"b": placed, "a": Trace(7, "collected")}) is None
    assert awaited({"b": placed, "c": Trace(1, "running")}) is None
    assert awaited({"b": placed, "c": Trace(1, "collected", published=True)}) is None
    assert awaited(LocalRecord(placed.placement, 8).add_to({"b": placed})) is None
    # a later one was chosen to be there, too
    assert awaited(LocalRecord(placed.placement, 8).add_to({"b": Trace(placement=Placement(4, "a", 8))})) == "a"
    assert awaited({"b": Trace(placement=Placement(3, "", 0))}) is awaited({"b": Trace()}) is None


def view(load: float, supply: int, used: int = 0, waiting: int = 0) -> HostView:
    queue = [SlotUser("", needed={"gpu": waiting})]
    return HostView({}, load, 1, SlotTable("", [Resource("gpu", supply, "setting", used)], [], queue))


def test_free_slots_decide_then_the_load():
    needed = Slots((("gpu", 2),))
    views = {"idle": view(0.1, 4, 4), "two": view(0.9, 4), "queue": view(0.0, 4, 4, 4), "small": view(0.0, 1)}
    capacities = {name: each.capacity(needed, {}) for name, each in views.items()}
    assert {name: each.free for name, each in capacities.items()} == {"idle": 0, "two": 2, "queue": -2, "small": 0}
    assert rank(capacities, {}, lambda: 0.0) == ["two", "idle", "queue", "small"]
    assert capacities["small"].unfit == "it has 1 gpu, and 2 are needed"
    loads = {
        "a": Capacity(0.5),
        "b": Capacity(0.2),
        "c": Capacity(0.1, unfit="its disk is full"),
        "d": Capacity(math.inf),
    }
    assert rank(loads, {}, lambda: 0.0) == ["b", "a", "d", "c"]
    assert rank(loads, {"b": 0.4}, lambda: 0.0) == ["a", "b", "d", "c"]
    assert rank({"a": Capacity(), "b": Capacity()}, {}, iter((2.0, 1.0)).__next__) == ["b", "a"]


def test_processes_that_choose_at_the_same_time_spread_their_jobs():
    draw = random.Random(1).random

    def share(name: str, capacities: dict[str, Capacity]) -> float:
        return sum(rank(capacities, {}, draw, spread=True)[0] == name for _ in range(2000)) / 2000

    slots = {"a": Capacity(0.0, 6), "b": Capacity(9.0, 3), "c": Capacity(0.0, 0), "d": Capacity(0.0, 9, unfit="full")}
    assert share("a", slots) == pytest.approx(2 / 3, abs=0.05)
    assert share("b", slots) == pytest.approx(1 / 3, abs=0.05)
    assert share("a", {"a": Capacity(0.1), "b": Capacity(0.5)}) == pytest.approx(3 / 4, abs=0.05)


def test_a_job_that_was_sent_counts_once_before_and_after_the_host_shows_it():
    needed = Slots((("gpu", 1),))
    for shows in (True, False):
        balancer, jobs = LoadBalancer(spread=False), {"a": [], "b": []}
        for number in range(6):
            views = {
                name: HostView(
                    {},
                    0.5,
                    8,
                    SlotTable(
                        "",
                        [Resource("gpu", supply, "setting", len(jobs[name]) if shows else 0)],
                        [SlotUser(f"{key}/1") for key in jobs[name] if shows],
                        [],
                    ),
                )
                for name, supply in (("a", 4), ("b", 2))
            }
            # a repeated choice, as after a lost response, counts once as well
            for _ in range(2):
                host, reason = balancer.choose(f"Task_{number}", dict.fromkeys(views, needed), views)
            assert re.match(r"free slots for [1-4] such jobs, load 0\.\d\d per processor; not [ab]: ", reason)
            jobs[host].append(f"Task_{number}")
        assert {name: len(keys) for name, keys in jobs.items()} == {"a": 4, "b": 2}


def test_this_machine_remembers_the_last_placement_of_each_task_until_its_host_responds(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    records, other = LocalRecords({"a": "~/x", "b": "~/x"}), LocalRecords({"a": "~/y", "b": "~/x"})
    first, second = Placement(2, "a", 7), Placement(2, "b", 0)
    assert records.read("Task") is None
    records.keep({"Task": first})
    assert records.read("Task") == LocalRecord(first)
    # of another project
    assert other.read("Task") is None
    records.record_failure("Task", "b", 8)
    records.record_failure("Task", "a", 7)
    assert records.read("Task") == LocalRecord(first)
    records.record_failure("Task", "a", 8)
    assert records.read("Task") == LocalRecord(first, 8)
    # the next attempt is there
    records.keep({"Task": first})
    assert records.read("Task") == LocalRecord(first)
    records.keep({"Task": second})
    assert records.read("Task") == LocalRecord(second)
    # placements of all hosts were removed, and they have begun again
    records.keep({"Task": Placement(1, "a", 0)})
    assert records.read("Task") == LocalRecord(Placement(1, "a", 0))
    assert records.read("Task").add_to({"b": Trace()}).keys() == {"b", MACHINE}
    assert records.read("Task").add_to({"a": Trace()}) == {"a": Trace()}
    (file,) = (tmp_path / "state/luigi-sshjob/placements").iterdir()
    assert file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text("\0\0")
    assert records.read("Task") is None
    # where nothing can be written nothing is records, and each task is tried
    file.unlink()
    file.mkdir()
    records.keep({"Task": first, "Other": second})
    assert (records.read("Task"), records.read("Other")) == (None, LocalRecord(second))
