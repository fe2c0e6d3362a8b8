"""What jobs on several hosts cost one worker here: processes, threads, descriptors, memory and processor time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host import BenchHost
from benchmarks.local import private_memory
from benchmarks.scale import build_command
from support import processes
from support.hosts import DockerHost
from support.luigi_command import TESTS


@dataclass
class Worker:
    """A worker while all its jobs run; memory in MiB, times in seconds."""

    hosts: int
    jobs: int
    threads: int = 0
    descriptors: int = 0
    memory: float = 0.0
    clients: int = 0
    clients_memory: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0


def measure_hosts(bench: BenchHost, hosts: int, jobs: int) -> Worker:
    """Run the jobs, equally divided, on that many containers."""
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(hosts):
            host = DockerHost(bench.root / f"many-{hosts}-{number}", client=bench.host.client)
            stack.callback(host.stop)
            host.start()
            host.run("mkdir", "many")
            started.append(host)
        config = bench.root / f"many-{hosts}"
        config.write_text("".join(host.ssh_config.read_text() for host in started))
        bench.configure(bench.base, config)
        stack.callback(bench.configure, bench.base)
        result = Worker(hosts, jobs)
        notes = bench.notes()
        command = build_command([host.alias for host in started], f"{started[0].home}/many", notes, jobs)
        with (notes / "log").open("wb") as log:
            worker = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=TESTS, text=True
            )
        submitted = f"the submission of {jobs} jobs"
        processes.wait_until(lambda: (notes / "log").read_text().count(" submitted as ") == jobs, submitted, 300)
        _sample(worker.pid, result)
        output, _ = worker.communicate()
        if worker.returncode != 0:
            raise RuntimeError((notes / "log").read_text()[-2000:])
        printed = json.loads(output)
        result.wall, result.cpu = printed["wall"], printed["cpu"]
        return result


def _sample(pid: int, result: Worker) -> None:
    status = Path(f"/proc/{pid}/status").read_text()
    threads = re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)
    assert threads
    result.threads = int(threads[1])
    result.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    result.memory = private_memory(pid) / 1024
    clients = [member.pid for member in processes.family(pid) if member.pid != pid]
    result.clients = len(clients)
    for client in clients:
        # it may have ended meanwhile
        with contextlib.suppress(OSError):
            result.clients_memory += private_memory(client) / 1024


def print_workers(workers: list[Worker]) -> None:
    """Print a table with a row for each."""
    print("hosts   jobs  threads  descriptors  memory  ssh clients, their memory   wall  local CPU")
    for one in workers:
        print(
            f"{one.hosts:5}{one.jobs:7}{one.threads:9}{one.descriptors:13}{one.memory:5.0f} MiB"
            f"{one.clients:13}{one.clients_memory:10.0f} MiB{one.wall:7.1f} s{one.cpu:9.1f} s",
            flush=True,
        )
