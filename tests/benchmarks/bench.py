"""Measures the cost of many concurrent jobs on a default sshd in a container: `tox -e bench`.

Counts come from the log of sshd and the pid counter of the container; times depend on this machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import luigi.configuration

from benchmarks.figures import print_table
from benchmarks.files import FileBench
from benchmarks.host import BenchHost
from benchmarks.transports import Transports


def main() -> int:
    arguments = _parser().parse_args()
    bench = BenchHost()
    try:
        # the first run installs the scripts on the host
        bench.measure(1)
        if not arguments.only_held:
            _print_transports(bench, arguments)
        if not (arguments.only_held or arguments.only_transports):
            _print_jobs(bench, arguments)
            _print_files(bench, arguments)
            _print_waiting(bench, arguments)
        if arguments.held and not arguments.only_transports:
            _print_held(bench, arguments)
        if arguments.faults and not (arguments.only_held or arguments.only_transports):
            killed, bad, logins, jobs = bench.with_faults(arguments.faults, seed=1)
            print(
                f"with {killed} leaders killed and the master ended during {jobs} jobs: {bad} bad jobs, {logins} logins"
            )
    finally:
        bench.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 20, 120, 200], help="concurrent jobs of each run")
    parser.add_argument("--silent", type=int, default=200, help="jobs without output for a minute")
    parser.add_argument("--peers", type=int, default=20, help="jobs of the comparison with other ways")
    parser.add_argument("--faults", type=int, default=200, help="jobs during which leaders are killed")
    parser.add_argument("--mib", type=int, default=1024, help="size of the copied file")
    parser.add_argument("--files", type=int, default=10_000, help="number of small copied files")
    parser.add_argument("--stream", type=int, default=1024, help="MiB that each transport writes and reads")
    parser.add_argument("--only-transports", action="store_true", help="only compare the transports")
    parser.add_argument("--held", type=int, default=500, help="jobs in one process, compared with a process for each")
    parser.add_argument("--many", type=int, default=2000, help="maximum number of jobs in one process")
    parser.add_argument("--only-held", action="store_true", help="only measure jobs in one process")
    return parser


def _print_transports(bench: BenchHost, arguments: argparse.Namespace) -> None:
    print("\n".join(Transports(bench, bench.configuration).compare(arguments.peers or 1, arguments.stream)))


def _print_jobs(bench: BenchHost, arguments: argparse.Namespace) -> None:
    runs = [bench.measure(jobs) for jobs in arguments.jobs]
    print(f"a bare ssh, its login and all: {bench.bare_processes} remote processes, {bench.bare:.1f} s")
    print_table(runs)
    if arguments.peers:
        print("\nside by side: this package, luigi.contrib.ssh polling by hand, one blocking ssh a job")
        print_table([bench.measure(arguments.peers, kind) for kind in ("ours", "by hand", "blocking")])


def _print_files(bench: BenchHost, arguments: argparse.Namespace) -> None:
    for delay in (0.0, 0.02):
        theirs, client, ours, together = bench.exists(delay)
        print(
            f"exists() of a path, {delay * 1000:.0f} ms of delay each way: "
            f"luigi.contrib.ssh {theirs * 1000:.0f} ms, a client of the same connection {client * 1000:.1f} ms;\n"
            f"    ours {ours * 1000:.2f} ms, {theirs / ours:.0f} and {client / ours:.0f} times faster; "
            f"1,000 in one question {together * 1000:.3f} ms, {theirs / together:.0f} times faster"
        )
    if arguments.mib:
        luigi.configuration.get_config().set("sshjob", "ssh_config", str(bench.host.ssh_config))
        file_bench = FileBench(bench.host, arguments.mib, arguments.files)
        for line in file_bench.lines():
            print(line, flush=True)
        file_bench.close()


def _print_waiting(bench: BenchHost, arguments: argparse.Namespace) -> None:
    if not arguments.silent:
        return
    waiting = bench.minute_of_waiting(arguments.silent)
    memory = statistics.median(waiting.memory[1:]) / 1024
    print(
        f"remote processes started by one minute of waiting for {arguments.silent} silent jobs: "
        f"{waiting.started}\nprivate memory of a waiting task process, median: {memory:.1f} MiB\n"
        f"CPU of all {waiting.processes} local processes in that minute: {waiting.cpu:.1f} s"
    )


def _print_held(bench: BenchHost, arguments: argparse.Namespace) -> None:
    jobs, many = arguments.held, arguments.many
    print("\nwithout a process for each job" + (f" ({jobs}, then {many})" if many else "") + ", and with one")
    kinds = [(jobs, "held"), (many, "held"), (jobs, "ours")]
    runs = [bench.measure(count, kind) for count, kind in kinds if count]
    print_table(runs)
    print(f"{'submissions a second':40}" + "".join(f"{run.submissions:>12.0f}" for run in runs))
    if arguments.faults:
        killed, bad = bench.with_workers_killed(jobs, seed=1)
        print(f"with {killed} workers killed during {jobs} jobs: {bad} jobs that failed, did not run, or ran twice")
    sys.stdout.flush()
    # an idle Luigi worker, without the processes of its two jobs
    idle = bench.minute_of_waiting(2, seconds=1).memory[0]
    for kind, name in (("held", "no process for each"), ("ours", "a process for each")):
        waiting = bench.minute_of_waiting(jobs, kind, seconds=20)
        memory = (sum(waiting.memory) - idle) / jobs
        print(
            f"a minute of waiting for {jobs} jobs, {name}: {waiting.processes} local processes, memory a job above an "
            f"idle Luigi worker {memory:.0f} KiB, CPU {waiting.cpu:.1f} s, {waiting.started} remote processes"
        )


if __name__ == "__main__":
    sys.exit(main())
