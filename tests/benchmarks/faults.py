"""Jobs while leaders, the connection and workers are killed."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time

from benchmarks.host import BenchHost
from support.hosts import ACCEPTED


def with_faults(bench: BenchHost, jobs: int, seed: int) -> tuple[int, int, int]:
    """Kill several leaders with SIGKILL, then end the master, while jobs run.

    Returns the numbers of killed leaders, of jobs that did not succeed or ran twice, and of logins.
    """
    bench.disconnect()
    chance = random.Random(seed)
    log_length = len(bench.host.log_text())
    folder = bench.folder()
    leaders = [_start_leader(bench) for _ in range(3)]
    run, notes = bench.start(jobs, folder, kind="held")
    for leader in leaders:
        # the earlier processes become the leader one after the other, then luigi
        time.sleep(chance.uniform(1, 3))
        leader.kill()
        leader.wait()
    time.sleep(chance.uniform(0, 2))
    bench.disconnect()
    run.wait()
    return (
        len(leaders),
        bench.bad(jobs, folder, notes),
        len(ACCEPTED.findall(bench.host.log_text()[log_length:])),
    )


def with_workers_killed(bench: BenchHost, jobs: int, seed: int) -> tuple[int, int]:
    """Kill a worker at random times and start it again, until all its jobs are done.

    Returns the numbers of killed workers and of jobs that did not succeed or ran twice.
    """
    chance = random.Random(seed)
    folder = bench.folder()
    run, notes = bench.start(jobs, folder, kind="held")
    kills = failed = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(chance.uniform(1, 6))
        over = run.poll() is not None
        if not over:
            run.kill_all()
        # the next worker begins another log
        failed += run.log.read_text().count(" failed    Sleeper")
        if over:
            # the notes lack the jobs that a killed worker completed
            ledger = bench.host.run("cat", f"{folder}/ledger").split()
            bad = len(set(map(str, range(jobs))) ^ set(ledger)) + len(ledger) - len(set(ledger))
            return kills, bad + failed
        kills += 1
        run, _ = bench.start(jobs, folder, kind="held", notes=notes)


def _start_leader(bench: BenchHost) -> subprocess.Popen[str]:
    """Start a process that is the leader, or becomes it after the earlier ones."""
    script = (
        "import sys, time\nfrom luigi_sshjob import RemoteFileSystem\nfiles = RemoteFileSystem(sys.argv[1])\n"
        "files.exists('/')\nprint('ready', flush=True)\nwhile True:\n  files.exists('/')\n  time.sleep(0.1)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, bench.host.alias], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process
