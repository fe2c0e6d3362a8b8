"""Runs the commands of the launcher for Slurm on a cluster, and keeps what they print."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.slurm import SLURM

from support import processes, recordings
from support.slurm_cluster import Cluster

WORK = "/home/job/work.sh"
FOREVER = "while :; do sleep 0.2; done"


class Recorder:
    """Runs the commands of the launcher on a cluster, and writes what they print."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.file = "submit"
        self.texts: dict[str, str] = {}

    def run(self, name: str | None, line: str, **variables: object) -> str:
        """Run a line of the launcher in a session of the account; record it with the ids in `variables`."""
        values = "".join(f"{key}='{value}'; " for key, value in variables.items())
        began = time.monotonic()
        status, stdout, stderr = self.cluster._run(("sh", "-c", f"export LC_ALL=C; {values}{line}"), "job", None)
        seconds = time.monotonic() - began
        if name is not None:
            ids = {key: str(value) for key, value in variables.items() if key not in ("ids", "id")}
            if seconds > 3:
                ids["seconds"] = str(round(seconds))
            text = recordings.section(name, ids, status, stdout.decode(), stderr.decode())
            self.texts[self.file] = self.texts.get(self.file, "") + text
        return stdout.decode()

    def submit(self, name: str | None, command: str = FOREVER, *, count: int = 1, **options: Any) -> str:
        """Submit, with the variables of the host; return the id."""
        before, key = options.pop("before", ""), options.pop("key", name or "job")
        limit = options.pop("time_limit", 0)
        line = SLURM.launch(LaunchOptions(options, time_limit=limit, batch=count)).lines[2]
        last, suffix = (count - 1, f"+{count - 1}.1700000000") if count > 1 else ("", "")
        values = {"name": f"{key}/1{suffix}", "directory": "/home/job/a | b", "last": last}
        script = "".join(f"{key}='{value}'; " for key, value in values.items())
        return self.run(name, f"{script}set -- {WORK} '{command}'; {before}{line}").strip()

    def root(self, script: str, *, check: bool = True) -> str:
        return self.cluster.run("sh", "-c", script, user="root", check=check)

    def states(self) -> dict[str, str]:
        lines = self.cluster.slurm("squeue", "--all", "--noheader", "--states=all", "--array", "--format=%i %T")
        return dict(line.split() for line in lines.splitlines())

    def await_states(self, wanted: dict[str, str], seconds: float = 60) -> None:
        """Wait until the jobs have these states."""
        try:
            processes.wait_until(lambda: wanted.items() <= self.states().items(), f"jobs to be {wanted}", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.states()}") from None

    @contextlib.contextmanager
    def without(self, program: str, start: str) -> Iterator[None]:
        """While the block runs, the program does not."""
        self.root(f"pkill -x {program}; while pgrep -x {program}; do sleep 0.1; done")
        yield
        self.root(start)

    @contextlib.contextmanager
    def configured(self, text: str) -> Iterator[None]:
        """While the block runs, slurmctld and the commands have more configuration."""
        with self.without("slurmctld", "slurmctld"):
            before = self.root("cat /etc/slurm/slurm.conf")
            self.root(f"cat >>/etc/slurm/slurm.conf <<'E'\n{text}\nE\n")
        self.settle()
        yield
        with self.without("slurmctld", "slurmctld"):
            self.root(f"cat >/etc/slurm/slurm.conf <<'E'\n{before}\nE\n")
        self.settle()

    def settle(self) -> None:
        processes.wait_until(lambda: bool(self.cluster.slurm("sinfo", "--noheader")), "slurmctld", 30)

    def cancel_all(self) -> None:
        self.cluster.slurm("scancel", "--user=job")
        processes.wait_until(lambda: not self.cluster.slurm("squeue", "--all", "--noheader"), "an empty queue", 60)
