"""The host of the benchmark, and the measurements of jobs on it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import luigi.configuration

from benchmarks.figures import Figures, Waiting
from benchmarks.local import cpu_time, private_memory
from support import docker_engine, processes
from support.any_host import remove
from support.control_master import exit_masters
from support.hosts import ACCEPTED, DockerHost
from support.luigi_command import Luigi

OWN_PROCESSES = 2  # of a Sleeper: its shell and its sleep
OURS = ("ours", "held")  # with a process for each job, and without


class BenchHost:
    """A host in a container, and the measurements on it."""

    def __init__(self, base: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
        self.host = DockerHost(self.root / "host", client=docker_engine.connect(), shm_size="4g")
        self.host.start()
        self.runtime_dir = self.root / "r"
        configuration = self.configuration = self.root / "luigi.cfg"
        self.base = base
        self.configure(self.base)
        os.environ["LUIGI_CONFIG_PATH"] = str(configuration)
        os.environ["XDG_STATE_HOME"] = str(self.root)
        luigi.configuration.add_config_path(str(configuration))
        self._last_pid = int(self.host.run("cat", "/proc/sys/kernel/pid_max"))
        # reading the counter starts processes, too
        self.counter_processes = self.started_since(self.started())
        # the first login of an account starts more processes than the next
        self._bare(0)
        first = self.started()
        self.bare = self._bare()
        self.bare_processes = self.started_since(first) - self.counter_processes - 1

    def started(self) -> int:
        """Return the number of processes that the host has started."""
        return int(self.host.run("cat", "/proc/sys/kernel/ns_last_pid"))

    def started_since(self, first: int) -> int:
        """Return the number of processes that the host has started since `started` returned `first`."""
        difference = self.started() - first
        # the numbers begin again after the last one, at 300
        return difference if difference >= 0 else difference + self._last_pid - 300

    def _bare(self, seconds: int = 9) -> float:
        begin = time.monotonic()
        subprocess.run(
            ["ssh", "-F", self.host.ssh_config, self.host.alias, f"sleep {seconds}"],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return time.monotonic() - begin

    def start(
        self, jobs: int, folder: str, seconds: int = 9, kind: str = "ours", notes: Path | None = None
    ) -> tuple[Luigi, Path]:
        """Start `luigi` with concurrent jobs, and return it with the directory of its notes."""
        notes = notes or self.notes()
        if kind in OURS:
            tasks = ["Sleepers", "--host", self.host.alias, "--seconds", str(seconds)]
        else:
            tasks = ["Peers", "--kind", kind, "--port", str(self.host.port), "--user", self.host.username]
            tasks += ["--key", str(self.host.key_file)]
        held = jobs if kind == "held" else None
        arguments = ["--folder", folder, "--notes", str(notes), "--count", str(jobs)]
        arguments += ["--workers", str(1 if held else jobs), "--local-scheduler"]
        return Luigi(notes / "log", *tasks, *arguments, remote_jobs=held), notes

    def configure(self, base: str, ssh_config: Path | None = None) -> None:
        """Have the next runs use that base directory, and perhaps another client configuration."""
        ssh_config = ssh_config or self.host.ssh_config
        self.configuration.write_text(
            f"[sshjob]\nssh_config={ssh_config}\nruntime_dir={self.runtime_dir}\nbase_dir={base}\n"
        )
        self._base_in_use = base

    def new_base(self) -> str:
        """Return a base directory that does not exist."""
        return f"{self.base}-{time.monotonic_ns()}"

    def notes(self) -> Path:
        """Make a new local directory."""
        return Path(tempfile.mkdtemp(dir=self.root))

    def cpu(self) -> float:
        """Processor time that the host has used, in seconds."""
        container = self.host.container
        assert container
        stats = self.host.client.api.stats(container.id, stream=False, one_shot=True)
        return float(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def folder(self) -> str:
        """Make a new directory on the host."""
        return self.host.run("mktemp", "-d").strip()

    def measure(self, jobs: int, kind: str = "ours") -> Figures:
        """Run concurrent jobs of 9 seconds."""
        self.disconnect()
        log_length = len(self.host.log_text())
        folder = self.folder()
        started, begin = self.started(), time.monotonic()
        run, notes = self.start(jobs, folder, kind=kind)
        run.wait()
        took = time.monotonic() - begin
        started = self.started_since(started) - self.counter_processes
        log = self.host.log_text()[log_length:]
        return Figures(
            jobs=jobs,
            logins=len(ACCEPTED.findall(log)),
            drops=count_drops(log),
            failed=self.bad(jobs, folder, notes),
            sessions=most_sessions(log),
            processes=started / jobs - OWN_PROCESSES,
            known=self.delays(folder, notes) if kind in OURS else [],
            overhead=took - self.bare,
            submissions=self.submissions(folder) if kind in OURS else 0.0,
        )

    def bad(self, jobs: int, folder: str, notes: Path) -> int:
        """Number of jobs that did not succeed or ran twice."""
        ledger = self.host.run("cat", f"{folder}/ledger").split()
        known = {int(note.name) for note in notes.iterdir() if note.name.isdigit()}
        return len(set(range(jobs)) ^ known) + len(ledger) - len(set(ledger))

    def delays(self, folder: str, notes: Path) -> list[float]:
        # time(1) writes this file when the command exits, before the supervisor continues
        script = (
            f"cd {self._base_in_use}/jobs && grep -l {folder} */1/command | while read -r c; do "
            "sed -n 's/.*echo \\([0-9]*\\) .*/\\1/p' $c; date -r ${c%command}run/usage +%s.%N; done"
        )
        words = self.host.run("sh", "-c", script).split()
        ends = dict(zip(map(int, words[::2]), map(float, words[1::2]), strict=True))
        # a job that failed has no note, see `bad`
        return [float(note.read_text()) - end for number, end in ends.items() if (note := notes / str(number)).exists()]

    def submissions(self, folder: str) -> float:
        script = f"cd {self._base_in_use}/jobs && grep -l {folder} */1/command | xargs -n 1 date +%s.%N -r"
        claims = sorted(map(float, self.host.run("sh", "-c", script).split()))
        return (len(claims) - 1) / (claims[-1] - claims[0]) if len(claims) > 1 else 0.0

    def minute_of_waiting(self, jobs: int, kind: str = "ours", seconds: int = 30) -> Waiting:
        """Wait for silent jobs for some seconds, and return the results scaled to a minute."""
        run, _ = self.start(jobs, self.folder(), seconds=90 + jobs // 10, kind=kind)
        processes.wait_until(
            lambda: run.log.read_text().count(" submitted as ") == jobs, "the submission of all jobs", 90
        )
        time.sleep(5)
        first, cpu, host_cpu = self.started(), cpu_time(run.pid), self.cpu()
        time.sleep(seconds)
        host_cpu = (self.cpu() - host_cpu) * 60 / seconds
        # the number that the counting itself starts differs by one or two
        started = max(0, self.started_since(first) - self.counter_processes) * 60 // seconds
        family = processes.family(run.pid)
        cpu = (cpu_time(run.pid) - cpu) * 60 / seconds
        memory = [private_memory(member.pid) for member in family if "luigi" in member.args]
        run.kill_all()
        # the jobs in the container
        self.host.run("pkill", "-x", "sleep", check=False)
        return Waiting(started, len(family), memory, cpu, host_cpu)

    def disconnect(self) -> None:
        """End the connection, so that the next run logs in."""
        exit_masters(self.runtime_dir, self.host)

    def close(self) -> None:
        """Remove the host and all processes."""
        self.disconnect()
        remove(self.host, self.root)


def count_drops(log: str) -> int:
    """Dropped connections and refused sessions in a log of sshd."""
    return len(re.findall(r"MaxStartups|no more sessions|drop connection", log))


def most_sessions(log: str) -> int:
    now = most = 0
    for word in re.findall("(Starting|Close) session: ", log):
        now += 1 if word == "Starting" else -1
        most = max(most, now)
    return most
