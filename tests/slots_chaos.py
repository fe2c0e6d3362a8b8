"""Kills supervisors at random times while jobs of two accounts share GPUs: `tox -e chaos -- --seconds 600`.

Each account has a luigi of its own. Their commands note in a ledger when they start, with which devices, and when they
end. It shows that no device had two jobs at once, and that jobs had their slots in the order of their tickets. In the
end all slots must be free and no process left. On a host without a container there is one account.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter

from luigi.configuration import add_config_path

from luigi_sshjob import RemoteContext
from luigi_sshjob.jobs.slot_table import read_slot_table
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.any_host import remove, start_any_host
from support.chaos_program import run_program
from support.hosts import DockerHost
from support.luigi_command import RETURN_CODES, Luigi
from support.second_account import add_account

GPUS = 4


class SlotsChaos:
    """One run with random kills."""

    def __init__(self, seed: int, jobs: int):
        self.random = random.Random(seed)
        self.jobs = jobs
        self.root, self.host, self.folder = start_any_host()
        self.aliases = [self.host.alias]
        if isinstance(self.host, DockerHost):
            self.aliases.append(add_account(self.host))
        # without the sticky bit, in which no account may append to a file of another one
        make = "chmod 777 . && mkdir slots && chmod 1777 slots && umask 0 && : >ledger"
        self.host.run("sh", "-c", f"cd {self.folder} && {make}")
        configuration = self.root / "luigi.cfg"
        configuration.write_text(
            f"[sshjob]\nssh_config={self.host.ssh_config}\nruntime_dir={self.root}/r\nbase_dir=slots-chaos\npoll_interval=1\n"
            f"slots=gpu:{GPUS}\nslots_dir={self.folder}/slots\n[core]\nno_configure_logging=true\n"
            "[worker]\nmax_reschedules=1000\nkeep_alive=true\n[scheduler]\nretry_delay=0\n"
        )
        os.environ["LUIGI_CONFIG_PATH"] = str(configuration)
        os.environ["XDG_STATE_HOME"] = str(self.root)
        add_config_path(str(configuration))
        self.kills: Counter[str] = Counter()
        self.findings: list[str] = []
        self.luigis: list[Luigi] = []
        self.started = 0

    def run(self, seconds: float) -> None:
        """Run rounds of jobs with kills for some seconds, then check the results."""
        end = time.monotonic() + seconds
        while not self.findings and (not self.started or time.monotonic() < end):
            numbers = [
                (number, self.random.choice((1, 1, 1, 2, GPUS)))
                for number in range(self.started, self.started + self.jobs)
            ]
            self.started += self.jobs
            shares = [numbers[each :: len(self.aliases)] for each in range(len(self.aliases))]
            self.luigis = [self._start_luigi(*each) for each in zip(self.aliases, shares, strict=True)]
            deadline = time.monotonic() + 600
            while any(luigi.poll() is None for luigi in self.luigis):
                if time.monotonic() > deadline:
                    self.findings.append("the jobs did not end")
                    break
                time.sleep(self.random.uniform(0.1, 0.8))
                self._kill_one()
            self._check_round()
        self._check_ledger()

    def _start_luigi(self, alias: str, numbers: list[tuple[int, int]]) -> Luigi:
        return Luigi(
            self.root / f"luigi-{alias}-{self.started}.log",
            *("SharingAll", "--local-scheduler", "--host", alias, "--folder", self.folder),
            *("--numbers", json.dumps(numbers)),
            *RETURN_CODES,
            remote_jobs=self.jobs,
        )

    def _kill_one(self) -> None:
        """It is stopped first, so that it cannot become the command between the listing and its end."""
        kind = self.random.choice(("supervise.sh", "supervise.sh", "flock"))
        found = [pid for pid, args in self._processes() if kind in args]
        if found:
            pid = self.random.choice(found)
            end = f"if grep -qa {kind} /proc/{pid}/cmdline; then kill -9 {pid}; else kill -CONT {pid}; fi"
            self.host.run("sh", "-c", f"kill -STOP {pid} && {end}", check=False, user=self._root)
            self.kills[kind] += 1

    @property
    def _root(self) -> str | None:
        return "root" if isinstance(self.host, DockerHost) else None

    def _processes(self) -> list[tuple[int, str]]:
        """Those of both accounts in a container; on this machine only those that are certainly of this run."""
        if not isinstance(self.host, DockerHost):
            return self.host.processes()
        listed = self.host.run("ps", "-A", "-o", "pid=,args=", user="root").splitlines()
        return [(int(line.split()[0]), line.split(None, 1)[1]) for line in listed if "ps -A" not in line]

    def _check_round(self) -> None:
        for luigi in self.luigis:
            if luigi.returncode:
                self.findings.append(f"luigi failed:\n{luigi.log.read_text(errors='replace')[-3000:]}")

        # commands whose supervisor was killed may still run
        def left() -> list[str]:
            return [args for _, args in self._processes() if "slots-chaos" in args or args.startswith("flock ")]

        try:
            processes.wait_until(lambda: not left(), "the end of all jobs")
        except TimeoutError:
            self.findings += [f"still running: {line}" for line in left()]
        for alias in self.aliases:
            table = read_slot_table(RemoteContext(alias).connection, "slots-chaos")
            self.findings += [f"not free: {each}" for each in (*table.holders, *table.queue)]

    def _check_ledger(self) -> None:
        lines = self.host.run("cat", f"{self.folder}/ledger").splitlines()
        users: dict[str, tuple[str, ...]] = {}
        begun: list[tuple[int, float]] = []
        for line in lines:
            word, *job = line.split()
            if word == "end":
                users.pop(" ".join(job), None)
                continue
            *name, number, devices, came, start = job
            taken = {device for each in users.values() for device in each}
            if taken & set(devices.split(",")):
                self.findings.append(f"a device had two jobs: {line}, while {users}")
                users.clear()
            users[" ".join(name)] = tuple(devices.split(","))
            # numbers begin again when no file is left; and of jobs that have their slots, one may be slower to begin
            before = [each for each, moment in begun if each > int(number) and moment > float(came)]
            if len(before) >= GPUS:
                self.findings.append(f"it was overtaken by {before}: {line}")
            begun.append((int(number), float(start)))
        self.starts = len(begun)
        if self.starts < self.started:
            self.findings.append(f"{self.started} jobs, but {self.starts} commands have started")

    def close(self) -> None:
        """Remove the host, all processes and files."""
        for luigi in self.luigis:
            luigi.kill_all()
        close_shells()
        remove(self.host, self.root, self.folder, f"{self.host.home}/slots-chaos")

    def report(self) -> list[str]:
        """The kills, and how many commands have started."""
        counts = [f"  {count:5d} x kill a process of {kind}" for kind, count in sorted(self.kills.items())]
        return [*counts, f"slots: {self.started} jobs of {len(self.aliases)} accounts, {self.starts} commands"]


if __name__ == "__main__":
    sys.exit(run_program("slots", str(__doc__), SlotsChaos, jobs=100))
