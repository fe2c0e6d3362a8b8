"""Bars: figures that the benchmark must reach, judged in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import percentile
from benchmarks.inputs import JobsCost
from benchmarks.scale import Run


@dataclass(frozen=True)
class Bar:
    """A figure, at most (or with `least` at least) its limit."""

    name: str
    value: float
    limit: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure reaches the bar."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "at least" if self.least else "at most"
        return f"{self.name:60}{self.value:10.2f}   {sign} {self.limit:g}: {'met' if self.met else 'NOT MET'}"


_OF_EACH: tuple[tuple[str, Callable[[Run], float], float], ...] = (
    ("host CPU of a job, its own aside (ms)", lambda run: run.host_cpu_of_a_job, 10),
    ("end to known, median (s)", lambda run: statistics.median(run.known), 0.05),
    ("end to known, 95th percentile (s)", lambda run: percentile(run.known, 0.95), 0.3),
    ("processes of a job on the host, its own aside", lambda run: run.processes, 5),
)
_OF_ONE: tuple[tuple[str, str, Callable[[Run], float], float, bool], ...] = (
    ("200 new", "wall over the floor's", lambda run: run.ratio, 1.1, False),
    ("200 stock", "wall over the floor's", lambda run: run.ratio, 1.4, False),
    ("1000", "wall over the floor's", lambda run: run.ratio, 1.5, False),
    ("1000", "submissions a second", lambda run: run.submissions, 120, True),
    ("1000", "local CPU, Luigi's for idle tasks aside (s)", lambda run: run.local_cpu - run.luigi_cpu, 2, False),
    ("2000", "overhead over a bare ssh (s)", lambda run: run.overhead, 20, False),
    *((name, *bar, False) for name in ("200", "1000") for bar in _OF_EACH),
)
_OF_ALL: tuple[tuple[str, Callable[[Run], float], float], ...] = (
    ("logins", lambda run: run.logins, 1),
    ("sessions at one time", lambda run: run.sessions, 3),
    ("drops, and jobs that failed or ran twice", lambda run: run.drops + run.bad, 0),
)


def bars_of(runs: dict[str, Run], login_processes: int) -> list[Bar]:
    """The bars of these runs, by their names. `login_processes` are those that any login starts on the host."""
    found = [Bar("1: processes on the host, those of the login aside", runs["1"].processes - login_processes, 5)]
    for name, what, *_ in _OF_ONE:
        if name not in runs:
            print(f"not measured: {name}: {what}")
    for name, run in runs.items():
        found += bars_of_times(name, run)
    for what, figure, limit in _OF_ALL:
        found += [Bar(f"{name}: {what}", figure(run), limit) for name, run in runs.items()]
    return found


def bars_of_inputs(without: JobsCost, first: JobsCost, again: JobsCost, size: int) -> list[Bar]:
    """The bars of jobs with an input that the host does not have, and of the same when it has it. All are counts."""
    name, runs = f"{first.jobs} jobs with", (without, first, again)
    return [
        Bar(f"{name} a new input: transfers", first.sent, 1),
        Bar(f"{name} a new input: bytes for it, over its size", (first.received - without.received) / size, 1.05),
        Bar(f"{name} a known input: transfers", again.sent, 0),
        Bar(f"{name} a known input: more requests a job", (again.requests - without.requests) / again.jobs, 1.05),
        Bar(f"{name} an input: logins of a run", max(run.logins for run in runs), 1),
        Bar(f"{name} an input: failed or doubled", sum(run.bad for run in runs), 0),
    ]


def bars_of_times(name: str, run: Run) -> list[Bar]:
    """The bars of one run that depend on the machine."""
    bars = [bar for of, *bar in _OF_ONE if of == name]
    return [Bar(f"{name}: {what}", figure(run), limit, least) for what, figure, limit, least in bars]


def is_fast(name: str, run: Run) -> bool:
    """Whether a run reaches all its bars of times."""
    return all(bar.met for bar in bars_of_times(name, run))
