"""What an input that many jobs share costs: the first time, next to scp for each job, and when the host has it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.figures import print_rows
from benchmarks.host import OWN_PROCESSES, BenchHost
from benchmarks.scale import build
from support.hosts import ACCEPTED

_MIB = 1 << 20
_SECONDS = 9  # of a job


@dataclass
class JobsCost:
    """What a run of jobs has cost: seconds, and the bytes of all packets that the host received."""

    jobs: int
    wall: float
    received: int
    logins: int
    requests: int
    """Those of the jobs; the watching of all of them is not counted."""
    processes: int
    submissions: float
    host_cpu: float
    local_cpu: float
    sent: int
    """How often the input was sent."""
    bad: int


@dataclass
class CopiesCost:
    """What a copy of the input for each job costs."""

    wall: float
    received: float
    logins: float


class InputBench:
    """Runs of `luigi_sshjob.build` with a file of random content as the input of all jobs, and copies of it by scp."""

    def __init__(self, bench: BenchHost, mib: int):
        self._bench = bench
        self.size = mib * _MIB
        self._file = bench.root / "input"
        with self._file.open("wb") as out:
            for _ in range(mib):
                out.write(os.urandom(_MIB))

    def runs(self, jobs: int) -> dict[str, JobsCost]:
        """Run jobs without the input, with it, and other jobs with it."""
        return {
            "no input": self._run(jobs, "Sleeper"),
            "first run": self._run(jobs, "Reader"),
            "next run": self._run(jobs, "Reader"),
        }

    def _run(self, count: int, kind: str) -> JobsCost:
        bench = self._bench
        bench.disconnect()
        log_length, folder, notes = len(bench.host.log_text()), bench.folder(), bench.notes()
        cpu, started, received = bench.cpu(), bench.started(), self._received()
        result = build(bench, folder, notes, count, "--tasks", kind, "--seconds", str(_SECONDS))
        return JobsCost(
            jobs=count,
            wall=result["wall"],
            received=self._received() - received,
            processes=bench.started_since(started) - bench.counter_processes - OWN_PROCESSES * count,
            host_cpu=bench.cpu() - cpu,
            local_cpu=result["cpu"],
            logins=len(ACCEPTED.findall(bench.host.log_text()[log_length:])),
            requests=result["requests"],
            submissions=bench.submissions(folder),
            sent=(notes / "log").read_text().count(f": sending the input {self._file} "),
            bad=bench.bad(count, folder, notes),
        )

    def copies(self, jobs: int, measured: int, *, shared_connection: bool) -> CopiesCost:
        """Copy the file with one scp after the other, and return the cost for that number of jobs."""
        host, socket = self._bench.host, self._bench.root / "scp"
        folder = host.run("mktemp", "-d", "-p", "/dev/shm").strip()
        options = ["-F", str(host.ssh_config)]
        if shared_connection:
            options += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={socket}"]
        log_length, received, begin = len(host.log_text()), self._received(), time.monotonic()
        for number in range(measured):
            argv = ["scp", "-q", *options, self._file, f"{host.alias}:{folder}/{number}"]
            subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - begin
        logins = len(ACCEPTED.findall(host.log_text()[log_length:]))
        received = self._received() - received
        if shared_connection:
            argv = ["ssh", *options, "-O", "exit", host.alias]
            subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        host.run("rm", "-r", folder)
        factor = jobs / measured
        return CopiesCost(wall * factor, received * factor, logins if shared_connection else logins * factor)

    def _received(self) -> int:
        """Bytes that the host has received."""
        return int(self._bench.host.run("cat", "/sys/class/net/eth0/statistics/rx_bytes"))

    def close(self) -> None:
        """Remove the file."""
        self._file.unlink()


def print_shared(size: int, runs: Mapping[str, JobsCost], copies: Mapping[str, CopiesCost]) -> None:
    """Print how one input for all jobs compares with a copy for each."""
    without, first = runs["no input"], runs["first run"]
    ours = CopiesCost(first.wall - _SECONDS, first.received - without.received, first.logins)
    every = [ours, *copies.values()]
    print_rows(
        {
            f"an input of {size // _MIB} MiB for {first.jobs} jobs": ["ours", *copies],
            "wall, ours with the jobs less their 9 s": [f"{cost.wall:.1f} s" for cost in every],
            "wall, over ours": [f"{cost.wall / ours.wall:.1f}" for cost in every],
            "bytes for the input, over its size": [f"{cost.received / size:.2f}" for cost in every],
            "logins": [f"{cost.logins:.0f}" for cost in every],
        }
    )


def print_runs(runs: Mapping[str, JobsCost]) -> None:
    """Print a table with a column for each run; the first is the one without an input."""
    every = list(runs.values())
    print_rows(
        {
            "jobs of 9 s at once": [f"{run.jobs}" for run in every],
            "their input": list(runs),
            "wall": [f"{run.wall:.1f} s" for run in every],
            "submissions a second": [f"{run.submissions:.0f}" for run in every],
            "requests a job": [f"{run.requests / run.jobs:.1f}" for run in every],
            "bytes that the host receives a job": [f"{run.received / run.jobs / 1024:.1f} KiB" for run in every],
            "processes a job on the host, its own aside": [f"{run.processes / run.jobs:.1f}" for run in every],
            "host CPU a job": [f"{1000 * run.host_cpu / run.jobs:.1f} ms" for run in every],
            "local CPU": [f"{run.local_cpu:.1f} s" for run in every],
            "transfers of the input": [str(run.sent) for run in every],
            "logins": [str(run.logins) for run in every],
            "failed or doubled jobs": [str(run.bad) for run in every],
        }
    )
