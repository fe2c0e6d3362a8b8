"""How times, processor times and failures grow with the number of jobs."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from benchmarks.host import BenchHost
from benchmarks.local import used_cpu
from benchmarks.scale import Run, Scale

# one blocking ssh for each job: more would only measure the logins that sshd refuses, and 13 MiB of memory for each
_MOST_BLOCKING = 500


@dataclass
class Cost:
    """What some jobs at once have cost, in seconds."""

    wall: float
    host_cpu: float
    local_cpu: float
    bad: int | None
    """Jobs that failed or ran twice; None if they were not counted."""


Growth = dict[str, dict[int, Cost]]
"""Costs by way and number of jobs."""


def measure_growth(bench: BenchHost, scale: Scale, counts: list[int]) -> Growth:
    """Run these numbers of jobs with each way."""
    growth: Growth = {"this package": {}, "the floor program": {}, "one blocking ssh a job": {}}
    for jobs in counts:
        run = scale.run(jobs)
        growth["this package"][jobs] = Cost(run.wall, run.host_cpu, run.local_cpu, run.bad)
        growth["the floor program"][jobs] = _of_floor(run)
        if jobs <= _MOST_BLOCKING:
            growth["one blocking ssh a job"][jobs] = _blocking(bench, jobs)
        for way, costs in growth.items():
            if jobs in costs:
                cost = costs[jobs]
                bad = "" if cost.bad is None else f", {cost.bad:4} bad jobs"
                print(
                    f"{jobs:6} jobs, {way:24} wall {cost.wall:6.1f} s, host CPU {cost.host_cpu:6.1f} s, "
                    f"local CPU {cost.local_cpu:6.1f} s{bad}",
                    flush=True,
                )
    return growth


def _of_floor(run: Run) -> Cost:
    return Cost(run.floor, run.floor_cpu, run.floor_local_cpu, None)


def _blocking(bench: BenchHost, jobs: int) -> Cost:
    host, local = bench.cpu(), _cpu_of_children()
    figures = bench.measure(jobs, "blocking")
    return Cost(figures.overhead + bench.bare, bench.cpu() - host, _cpu_of_children() - local, figures.failed)


def _cpu_of_children() -> float:
    return used_cpu(resource.getrusage(resource.RUSAGE_CHILDREN))
