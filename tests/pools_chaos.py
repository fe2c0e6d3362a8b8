"""Kills luigis, and cuts or silences hosts, while jobs run on a pool of three: `tox -e chaos -- --seconds 600`.

Luigis of two machines run the same tasks. At each moment at most one host does not respond, to one of them or to both.
Each command notes in a ledger on its host that it has begun. In the end each of them has begun once over all hosts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from support import docker_engine, processes
from support.chaos_program import run_program
from support.hosts import DockerHost
from support.luigi_command import RETURN_CODES, Luigi
from support.network_proxy import Proxy, through

HOSTS = ("gpu01", "gpu02", "gpu03")
MACHINES = ("m1", "m2")
# seconds from the end of one silence to the next one: until then a host may be left out, because it was silent
REST = 15


class PoolsChaos:
    """One run with random faults."""

    def __init__(self, seed: int, jobs: int):
        self.random = random.Random(seed)
        self.jobs = jobs
        self.root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
        client = docker_engine.connect()
        self.hosts = {name: DockerHost(self.root / name, client=client) for name in HOSTS}
        for host in self.hosts.values():
            host.start()
        self.folder = self.hosts[HOSTS[0]].run("mktemp", "-d").strip()
        self.proxies: dict[tuple[str, str], Proxy] = {}
        for machine in MACHINES:
            self._configure(machine)
        self.faults: Counter[str] = Counter()
        self.findings: list[str] = []
        self.luigis: dict[str, Luigi] = {}
        self.started = 0
        self._silent: list[Proxy] = []
        self._until = 0.0

    def _configure(self, machine: str) -> None:
        directory = self.root / machine
        directory.mkdir()
        texts = []
        for name, host in self.hosts.items():
            proxy = self.proxies[machine, name] = Proxy((host.hostname, host.port))
            texts.append(through(proxy, host, name))
        (directory / "ssh_config").write_text("".join(texts))
        (directory / "luigi.cfg").write_text(
            f"[sshjob]\nssh_config={directory}/ssh_config\nruntime_dir={directory}/r\npoll_interval=1\n"
            "connect_timeout=5\nrequest_timeout=10\n[core]\nno_configure_logging=true\n"
            "[worker]\nmax_reschedules=1000\nkeep_alive=true\n[scheduler]\nretry_delay=0\n"
        )

    def run(self, seconds: float) -> None:
        """Run rounds of jobs with faults for some seconds, then check the results."""
        end = time.monotonic() + seconds
        while not self.findings and (not self.started or time.monotonic() < end):
            numbers = list(range(self.started, self.started + self.jobs))
            self.started += self.jobs
            self._round(numbers, end)
        self._check()

    def _round(self, numbers: list[int], end: float) -> None:
        """Restart luigis until one of each machine has succeeded."""
        deadline = max(end, time.monotonic()) + 300
        done: set[str] = set()
        while len(done) < len(MACHINES):
            for machine in MACHINES:
                luigi = self.luigis.get(machine)
                if luigi and luigi.poll() == 0:
                    done.add(machine)
                elif not luigi or luigi.poll() is not None:
                    self.luigis[machine] = self._start_luigi(machine, numbers)
            if time.monotonic() > deadline:
                self.findings.append("the jobs did not end")
                break
            time.sleep(self.random.uniform(0.1, 1.0))
            self._inject_fault(quiet=time.monotonic() > end)
        self.luigis = {}

    def _start_luigi(self, machine: str, numbers: list[int]) -> Luigi:
        directory = self.root / machine
        os.environ["LUIGI_CONFIG_PATH"] = str(directory / "luigi.cfg")
        os.environ["XDG_STATE_HOME"] = str(directory)
        return Luigi(
            directory / f"luigi-{time.monotonic_ns()}.log",
            *("--module", "support.pool_tasks", "Briefly", "--local-scheduler", "--workers", "4"),
            *("--host", json.dumps(HOSTS), "--folder", self.folder, "--numbers", json.dumps(numbers)),
            *RETURN_CODES,
            # Luigi's worker, or the worker of this package
            remote_jobs=self.random.choice((None, self.jobs)),
        )

    def _inject_fault(self, *, quiet: bool) -> None:
        now = time.monotonic()
        if self._silent and (now > self._until or quiet):
            for proxy in self._silent:
                proxy.restore()
            self._silent, self._until = [], now + REST
        fault = self.random.choice((self.kill_a_luigi, self.cut_connections, self.cut_a_response, self.silence_a_host))
        # in a silence, and soon after it, no other host may be left out
        if not quiet and (fault == self.kill_a_luigi or now > self._until):
            fault(self.random.choice(MACHINES), self.random.choice(HOSTS))
            self.faults[fault.__name__.replace("_", " ")] += 1

    def kill_a_luigi(self, machine: str, host: str) -> None:
        """With all its tasks."""
        self.luigis[machine].kill_all()

    def cut_connections(self, machine: str, host: str) -> None:
        """Those of one machine to one host."""
        self.proxies[machine, host].cut()

    def cut_a_response(self, machine: str, host: str) -> None:
        """One of those that follow."""
        self.proxies[machine, host].cut_after(received=self.random.randrange(1, 3000))

    def silence_a_host(self, machine: str, host: str) -> None:
        """For one machine, or for all."""
        self._silent = [self.proxies[each, host] for each in MACHINES if each == machine or self.random.random() < 0.5]
        self._until = time.monotonic() + self.random.uniform(2, 12)
        for proxy in self._silent:
            proxy.silence()

    def _check(self) -> None:
        begun: Counter[str] = Counter()
        for name, host in self.hosts.items():
            lines = host.run("sh", "-c", f"cat {self.folder}/ledger 2>/dev/null || :").split()
            begun.update(line.rpartition("/")[0] for line in lines)
            self.faults[f"jobs on {name}"] = len(lines)
        if len(begun) != self.started:
            self.findings.append(f"{self.started} tasks, but {len(begun)} have begun")
        self.findings += [f"{task} has begun {count} times" for task, count in begun.items() if count != 1]

    def report(self) -> list[str]:
        """The faults, and where jobs have run."""
        return [
            *(f"  {count:5d} x {kind}" for kind, count in sorted(self.faults.items())),
            f"pools: {self.started} tasks",
        ]

    def close(self) -> None:
        """Remove the hosts, all processes and files."""
        for luigi in self.luigis.values():
            luigi.kill_all()
        processes.kill([p.pid for p in processes.running() if p.names(str(self.root)) and p.pid != os.getpid()])
        for proxy in self.proxies.values():
            proxy.close()
        for host in self.hosts.values():
            host.stop()
        shutil.rmtree(self.root)


if __name__ == "__main__":
    try:
        docker_engine.connect()
    except docker_engine.NoEngine as error:
        sys.exit(print(f"pools: left out, because there are no three hosts: {error}"))
    sys.exit(run_program("pools", str(__doc__), PoolsChaos, jobs=20))
