"""How time and processor time grow with the number of jobs."""

from __future__ import annotations

from benchmarks.host import BenchHost
from benchmarks.scale import Scale

# one blocking ssh for each job: more would only measure the logins that sshd refuses
_MOST_BLOCKING = 100
Series = dict[int, tuple[float, float, float]]


def measure_growth(bench: BenchHost, scale: Scale, counts: list[int]) -> dict[str, Series]:
    """Wall time, CPU of the host and local CPU, all in seconds, by way and number of jobs."""
    found: dict[str, Series] = {"this package": {}, "the floor program": {}, "one blocking ssh a job": {}}
    for jobs in counts:
        run = scale.run(jobs)
        found["this package"][jobs] = run.wall, run.host_cpu, run.local_cpu
        found["the floor program"][jobs] = run.floor, run.floor_cpu, run.floor_local_cpu
        if jobs <= _MOST_BLOCKING:
            cpu = bench.cpu()
            wall = bench.measure(jobs, "blocking").overhead + bench.bare
            found["one blocking ssh a job"][jobs] = wall, bench.cpu() - cpu, 0.0
        for way, series in found.items():
            if jobs in series:
                wall, host, local = series[jobs]
                print(
                    f"{jobs:6} jobs, {way:24} wall {wall:6.1f} s, host CPU {host:6.1f} s, local CPU {local:6.1f} s",
                    flush=True,
                )
    return found
