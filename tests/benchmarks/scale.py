"""Many short jobs at once next to the floor program in the same run: times, processor time and processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import percentile, print_rows
from benchmarks.floor import run_floor
from benchmarks.host import OWN_PROCESSES, BenchHost, count_drops, most_sessions
from support.hosts import ACCEPTED
from support.luigi_command import TESTS

_TRIES = 3


@dataclass
class Run:
    """What some jobs at once have cost. Times are seconds, those of processors on the host and here."""

    jobs: int
    floor: float
    wall: float
    known: list[float]
    submissions: float
    host_cpu: float
    floor_cpu: float
    floor_local_cpu: float
    local_cpu: float
    luigi_cpu: float
    processes: float
    logins: int
    sessions: int
    drops: int
    bad: int
    overhead: float
    tries: int = field(default=1)
    """The number of runs; this is the first that reached all bars of times, or else the fastest."""

    @property
    def ratio(self) -> float:
        """Wall time over that of the floor program."""
        return self.wall / self.floor

    @property
    def host_cpu_of_a_job(self) -> float:
        """Milliseconds, without those of the job itself."""
        return 1000 * (self.host_cpu - self.floor_cpu) / self.jobs


class Scale:
    """Runs of `luigi_sshjob.build` and of the stock worker on one host."""

    def __init__(self, bench: BenchHost, is_fast: Callable[[str, Run], bool] = lambda *_: True):
        self._bench = bench
        self._is_fast = is_fast
        self.runs: dict[str, Run] = {}
        """Those so far, by the number of jobs and what was special."""

    def run(self, jobs: int, special: str = "") -> Run:
        """Run the jobs after the floor program has run the same, unless that was done before.

        `special` is "new" for a base directory that does not exist, or "stock" for Luigi's own worker. A run that is
        not fast enough is repeated, because other programs on the machine can only make it slower.
        """
        name = f"{jobs} {special}".strip()
        if name not in self.runs:
            self.runs[name] = self._best_of_tries(name, jobs, stock=special == "stock", new_base=special == "new")
        return self.runs[name]

    def _best_of_tries(self, name: str, jobs: int, *, stock: bool, new_base: bool) -> Run:
        tries: list[Run] = []
        while len(tries) < _TRIES:
            run = self._run(jobs, stock=stock, new_base=new_base)
            tries.append(run)
            if run.bad or run.drops or run.logins > 1 or self._is_fast(name, run):
                break
        else:
            run = min(tries, key=lambda each: each.ratio)
        run.tries = len(tries)
        return run

    def _run(self, jobs: int, *, stock: bool, new_base: bool) -> Run:
        bench = self._bench
        cpu = bench.cpu()
        floor = run_floor(bench.host, bench.folder(), jobs)
        floor_cpu = bench.cpu() - cpu
        base = bench.new_base() if new_base else bench.base
        bench.configure(base)
        bench.disconnect()
        log_length, folder = len(bench.host.log_text()), bench.folder()
        cpu, started, begin = bench.cpu(), bench.started(), time.monotonic()
        if stock:
            luigi, notes = bench.start(jobs, folder)
            luigi.wait()
            result: dict[str, Any] = {"wall": time.monotonic() - begin, "cpu": 0.0}
        else:
            notes = bench.notes()
            result = build(bench, folder, notes, jobs)
        processes = bench.started_since(started) - bench.counter_processes
        cpu = bench.cpu() - cpu
        log = bench.host.log_text()[log_length:]
        bad, known, submissions = bench.bad(jobs, folder, notes), bench.delays(folder, notes), bench.submissions(folder)
        bench.configure(bench.base)
        return Run(
            jobs=jobs,
            floor=floor.wall,
            wall=result["wall"],
            known=known,
            submissions=submissions,
            host_cpu=cpu,
            floor_cpu=floor_cpu,
            floor_local_cpu=floor.local_cpu,
            local_cpu=result["cpu"],
            luigi_cpu=0.0 if stock else luigi_alone(bench, jobs)["cpu"],
            processes=processes / jobs - OWN_PROCESSES,
            logins=len(ACCEPTED.findall(log)),
            sessions=most_sessions(log),
            drops=count_drops(log),
            bad=bad,
            overhead=result["wall"] - bench.bare,
        )


def build(bench: BenchHost, folder: str, notes: Path, jobs: int, *options: str) -> dict[str, Any]:
    """Run benchmarks/builds.py and return what it prints."""
    with (notes / "log").open("wb") as log:
        done = subprocess.run(
            build_command([bench.host.alias], folder, notes, jobs, *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
            cwd=TESTS,
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def luigi_alone(bench: BenchHost, tasks: int, scheduler: str = "ours") -> dict[str, Any]:
    """What Luigi's worker needs for tasks that do nothing, with that scheduler."""
    return build(bench, "none", bench.notes(), tasks, "--tasks", "Nothing", "--scheduler", scheduler)


def build_command(hosts: list[str], folder: str, notes: Path, jobs: int, *options: str) -> list[str]:
    """Return the command line of benchmarks/builds.py."""
    words = ["--host", *hosts, "--folder", folder, "--notes", str(notes), "--count", str(jobs), *options]
    return [sys.executable, "-m", "benchmarks.builds", *words]


def print_runs(runs: dict[str, Run]) -> None:
    """Print a table with a column for each run."""
    rows = {
        "jobs of 9 s at once": list(runs),
        "wall, the floor program": [f"{run.floor:.1f} s" for run in runs.values()],
        "wall, ours": [f"{run.wall:.1f} s" for run in runs.values()],
        "ours over the floor": [f"{run.ratio:.2f}" for run in runs.values()],
        "submissions a second": [f"{run.submissions:.0f}" for run in runs.values()],
        "end to known, median": [f"{statistics.median(run.known):.2f} s" for run in runs.values()],
        "end to known, 95th percentile": [f"{percentile(run.known, 0.95):.2f} s" for run in runs.values()],
        "host CPU a job, its own aside": [f"{run.host_cpu_of_a_job:.1f} ms" for run in runs.values()],
        "host CPU a job, its own (the floor)": [f"{1000 * run.floor_cpu / run.jobs:.1f} ms" for run in runs.values()],
        "processes a job on the host, its own aside": [f"{run.processes:.1f}" for run in runs.values()],
        "local CPU": [f"{run.local_cpu:.1f} s" if run.local_cpu else "" for run in runs.values()],
        "Luigi's for tasks that do nothing": [
            f"{run.luigi_cpu:.1f} s" if run.local_cpu else "" for run in runs.values()
        ],
        "logins, sessions at once, drops": [f"{run.logins}, {run.sessions}, {run.drops}" for run in runs.values()],
        "failed or doubled jobs": [str(run.bad) for run in runs.values()],
        "tries": [str(run.tries) for run in runs.values()],
    }
    print_rows(rows)
