"""Measures what many concurrent jobs cost on a default sshd in a container: `tox -e bench`.

Counts come from the log of sshd and the pid counter of the container. Times depend on this machine: compare them with
those of the floor program in the same run. Exits with 1 if a bar is not met.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import luigi.configuration

from benchmarks import inputs
from benchmarks.bars import Bar, bars_of, bars_of_inputs, is_fast
from benchmarks.exists import exists
from benchmarks.faults import with_faults, with_workers_killed
from benchmarks.figures import print_table
from benchmarks.files import FileBench
from benchmarks.growth import measure_growth
from benchmarks.host import BenchHost
from benchmarks.many_hosts import measure_hosts, print_workers
from benchmarks.scale import Scale, build, luigi_alone, print_runs
from benchmarks.transports import Transports


def main() -> int:
    arguments = _parser().parse_args()
    bench = BenchHost(arguments.base)
    found: list[Bar] = []
    try:
        # the first run installs the scripts on the host
        bench.measure(1)
        print(f"a bare ssh, its login and all: {bench.bare_processes} remote processes, {bench.bare:.1f} s")
        print(f"base directory: {arguments.base}")
        for part in arguments.parts:
            print(f"\n{part}", flush=True)
            found += _PARTS[part](bench, arguments)
    finally:
        bench.close()
    print("\nbars")
    for bar in found:
        print(bar)
    return 0 if all(bar.met for bar in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=list(_PARTS), default=list(_PARTS), help="by default all")
    # by default in memory: a disk that others use would be measured with it
    parser.add_argument("--base", default="/dev/shm/luigi-sshjob", help="base directory on the host")
    parser.add_argument("--small", type=int, default=200, help="jobs of the first runs")
    parser.add_argument("--large", type=int, nargs="*", default=[1000, 2000], help="jobs of the other runs")
    parser.add_argument("--silent", type=int, nargs=2, default=[500, 1000], help="jobs without output for a minute")
    parser.add_argument("--peers", type=int, default=20, help="jobs of the comparison with other ways")
    parser.add_argument("--faults", type=int, default=1000, help="jobs during which leaders and workers are killed")
    parser.add_argument("--mib", type=int, default=1024, help="size of the copied file, and of the streams")
    parser.add_argument("--files", type=int, default=10_000, help="number of small copied files")
    parser.add_argument("--shared", type=int, default=50, help="MiB of the input that the jobs of a run share")
    parser.add_argument("--copies", type=int, default=10, help="number of copies of it by scp")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 50], help="hosts that share some jobs")
    parser.add_argument("--spread", type=int, default=500, help="number of these jobs")
    parser.add_argument("--growth", type=int, nargs="+", default=[20, 200, 500, 1000, 2000], help="jobs of its runs")
    parser.add_argument("--draw", type=Path, help="where to write the figure of the growth, as SVG")
    return parser


def _scale(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    scale, small = _scale_of(bench), arguments.small
    scale.run(1)
    for special in ("new", "", "stock"):
        scale.run(small, special)
    for jobs in arguments.large:
        scale.run(jobs)
    print_runs(scale.runs)
    return bars_of(scale.runs, bench.bare_processes)


@functools.cache
def _scale_of(bench: BenchHost) -> Scale:
    # one, so that the growth needs no second measurement
    return Scale(bench, is_fast)


def _luigi(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    print("tasks that do nothing, in Luigi's worker: local CPU of all, and of the scheduler for each task")
    for tasks in (arguments.small, *arguments.large):
        for name, scheduler in (("Luigi's", "luigi"), ("that of luigi_sshjob.build", "ours")):
            cost = luigi_alone(bench, tasks, scheduler)
            each = 1000 * cost["scheduler"] / tasks
            print(f"{tasks:6} tasks, scheduler {name:28}{cost['cpu']:6.1f} s {each:6.2f} ms", flush=True)
    return []


def _log_lines(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    bench.disconnect()
    delays = build(bench, bench.folder(), bench.notes(), 10, "--tasks", "Chatty")["delays"]
    median = statistics.median(delays)
    print(f"{len(delays)} lines of 10 jobs, each in Luigi's log after a median of {median:.2f} s")
    return [Bar("10 chatty jobs: line to Luigi's log, median (s)", median, 0.3)]


def _waiting(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    fewer, more = arguments.silent
    costs = {}
    for jobs, kind in ((fewer, "held"), (more, "held"), (fewer, "ours")):
        waiting = bench.minute_of_waiting(jobs, kind)
        print(
            f"a minute of waiting for {jobs} silent jobs, {'one process' if kind == 'held' else 'a process for each'}: "
            f"CPU of the host {waiting.host_cpu:.2f} s, processes started there {waiting.started}; {waiting.processes} "
            f"local processes, their CPU {waiting.cpu:.1f} s, private memory of one, median "
            f"{statistics.median(waiting.memory) / 1024:.1f} MiB",
            flush=True,
        )
        costs[jobs, kind] = waiting.host_cpu
    first, second = costs[fewer, "held"], costs[more, "held"]
    return [
        Bar(f"a minute of waiting for {fewer} jobs: CPU of the host (s)", first, 0.5),
        Bar(f"the same for {more} jobs, over that for {fewer}", second / first, 1.2),
    ]


def _peers(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    print("side by side: this package, luigi.contrib.ssh polling by hand, one blocking ssh a job")
    print_table([bench.measure(arguments.peers, kind) for kind in ("ours", "by hand", "blocking")])
    return []


def _exists(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    found = []
    for delay in (0.0, 0.02):
        theirs, client, ours, together = exists(bench, delay)
        print(
            f"exists() of a path, {delay * 1000:.0f} ms of delay each way: "
            f"luigi.contrib.ssh {theirs * 1000:.0f} ms, a client of the same connection {client * 1000:.1f} ms;\n"
            f"    ours {ours * 1000:.2f} ms, {theirs / ours:.0f} and {client / ours:.0f} times faster; "
            f"1,000 in one question {together * 1000:.3f} ms, {theirs / together:.0f} times faster"
        )
        if not delay:
            found.append(Bar("exists() of a path, times faster than Luigi's", theirs / ours, 400, least=True))
    return found


def _files(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    luigi.configuration.get_config().set("sshjob", "ssh_config", str(bench.host.ssh_config))
    file_bench = FileBench(bench.host, arguments.mib, arguments.files)
    for line in file_bench.lines():
        print(line, flush=True)
    file_bench.close()
    return []


def _inputs(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    jobs, measured = arguments.small, arguments.copies
    shared = inputs.InputBench(bench, arguments.shared)
    runs = shared.runs(jobs)
    copies = {
        "shared scp": shared.copies(jobs, measured, shared_connection=True),
        "scp": shared.copies(jobs, measured, shared_connection=False),
    }
    shared.close()
    print(
        f"a copy for each job with scp, over a shared connection or with a login each: {measured} one after the other"
    )
    inputs.print_shared(shared.size, runs, copies)
    print()
    inputs.print_runs(runs)
    return bars_of_inputs(*runs.values(), shared.size)


def _transports(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    print("\n".join(Transports(bench, bench.configuration).compare(arguments.peers, arguments.mib)))
    return []


def _faults(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    jobs = arguments.faults
    killed, bad, logins = with_faults(bench, jobs, seed=1)
    print(f"with {killed} leaders killed and the master ended during {jobs} jobs: {bad} bad jobs, {logins} logins")
    workers, bad_too = with_workers_killed(bench, jobs, seed=1)
    print(f"with {workers} workers killed during {jobs} jobs: {bad_too} jobs that failed, did not run, or ran twice")
    return [Bar(f"{jobs} jobs while leaders, masters and workers are killed: bad jobs", bad + bad_too, 0)]


def _hosts(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    print_workers([measure_hosts(bench, hosts, arguments.spread) for hosts in arguments.hosts])
    return []


def _growth(bench: BenchHost, arguments: argparse.Namespace) -> list[Bar]:
    growth = measure_growth(bench, _scale_of(bench), arguments.growth)
    if arguments.draw:
        importlib.import_module("benchmarks.draw").draw(growth, arguments.draw)
    return []


_PARTS: dict[str, Callable[[BenchHost, argparse.Namespace], list[Bar]]] = {
    "scale": _scale,
    "luigi": _luigi,
    "log lines": _log_lines,
    "waiting": _waiting,
    "peers": _peers,
    "exists": _exists,
    "files": _files,
    "inputs": _inputs,
    "transports": _transports,
    "faults": _faults,
    "hosts": _hosts,
    "growth": _growth,
}

if __name__ == "__main__":
    sys.exit(main())
