"""The host of the benchmark, and the measurements of jobs on it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import luigi.configuration
import luigi.contrib.ssh

from luigi_sshjob import RemoteFileSystem

from benchmarks.figures import Figures, Waiting
from benchmarks.local import cpu_time, discarded_stderr, private_memory, timed
from support import docker_engine, processes
from support.any_host import remove
from support.control_master import exit_masters
from support.hosts import ACCEPTED, DockerHost
from support.luigi_command import Luigi
from support.network_proxy import Proxy, through

OWN_PROCESSES = 2  # of a Sleeper: its shell and its sleep
OURS = ("ours", "held")  # with a process for each job, and without


class BenchHost:
    """A host in a container, and the measurements on it."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
        self.host = DockerHost(self.root / "host", client=docker_engine.connect(), shm_size="4g")
        self.host.start()
        self.runtime_dir = self.root / "r"
        configuration = self.configuration = self.root / "luigi.cfg"
        configuration.write_text(f"[sshjob]\nssh_config={self.host.ssh_config}\nruntime_dir={self.runtime_dir}\n")
        os.environ["LUIGI_CONFIG_PATH"] = str(configuration)
        os.environ["XDG_STATE_HOME"] = str(self.root)
        luigi.configuration.add_config_path(str(configuration))
        # reading the counter starts processes, too
        first, second = self._started(), self._started()
        self._counter_processes = second - first
        # the first login of an account starts more processes than the next
        self._bare(0)
        first = self._started()
        self.bare = self._bare()
        self.bare_processes = self._started() - first - self._counter_processes - 1

    def _started(self) -> int:
        return int(self.host.run("cat", "/proc/sys/kernel/ns_last_pid"))

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
        notes = notes or Path(tempfile.mkdtemp(dir=self.root))
        if kind in OURS:
            tasks = ["Sleepers", "--host", self.host.alias, "--seconds", str(seconds)]
        else:
            tasks = ["Peers", "--kind", kind, "--port", str(self.host.port), "--user", self.host.username]
            tasks += ["--key", str(self.host.key_file)]
        held = jobs if kind == "held" else None
        arguments = ["--folder", folder, "--notes", str(notes), "--count", str(jobs)]
        arguments += ["--workers", str(1 if held else jobs), "--local-scheduler"]
        return Luigi(notes / "log", *tasks, *arguments, remote_jobs=held), notes

    def folder(self) -> str:
        """Make a new directory on the host."""
        return self.host.run("mktemp", "-d").strip()

    def measure(self, jobs: int, kind: str = "ours") -> Figures:
        """Run concurrent jobs of 9 seconds."""
        self.disconnect()
        log_length = len(self.host.log_text())
        folder = self.folder()
        started, begin = self._started(), time.monotonic()
        run, notes = self.start(jobs, folder, kind=kind)
        run.wait()
        took = time.monotonic() - begin
        started = self._started() - started - self._counter_processes
        log = self.host.log_text()[log_length:]
        return Figures(
            jobs=jobs,
            logins=len(ACCEPTED.findall(log)),
            drops=len(re.findall(r"MaxStartups|no more sessions|drop connection", log)),
            failed=self._bad(jobs, folder, notes),
            sessions=_most_sessions(log),
            processes=started / jobs - OWN_PROCESSES,
            known=self._delays(folder, notes) if kind in OURS else [],
            overhead=took - self.bare,
            submissions=self._submissions(folder) if kind in OURS else 0.0,
        )

    def _bad(self, jobs: int, folder: str, notes: Path) -> int:
        """Number of jobs that did not succeed or ran twice."""
        ledger = self.host.run("cat", f"{folder}/ledger").split()
        known = {int(note.name) for note in notes.iterdir() if note.name.isdigit()}
        return len(set(range(jobs)) ^ known) + len(ledger) - len(set(ledger))

    def _delays(self, folder: str, notes: Path) -> list[float]:
        # time(1) writes this file when the command exits, before the supervisor continues
        script = (
            f"cd .luigi-sshjob/jobs && grep -l {folder} */1/command | while read -r c; do "
            "sed -n 's/.*echo \\([0-9]*\\) .*/\\1/p' $c; date -r ${c%command}run/usage +%s.%N; done"
        )
        words = self.host.run("sh", "-c", script).split()
        ends = dict(zip(map(int, words[::2]), map(float, words[1::2]), strict=True))
        return [float((notes / str(number)).read_text()) - end for number, end in ends.items()]

    def _submissions(self, folder: str) -> float:
        script = f"cd .luigi-sshjob/jobs && grep -l {folder} */1/command | xargs -n 1 date +%s.%N -r"
        claims = sorted(map(float, self.host.run("sh", "-c", script).split()))
        return (len(claims) - 1) / (claims[-1] - claims[0]) if len(claims) > 1 else 0.0

    def minute_of_waiting(self, jobs: int, kind: str = "ours", seconds: int = 60) -> Waiting:
        """Wait for silent jobs for some seconds, and return the results scaled to a minute."""
        run, _ = self.start(jobs, self.folder(), seconds=90 + jobs // 10, kind=kind)
        processes.wait_until(
            lambda: run.log.read_text().count(" submitted as ") == jobs, "the submission of all jobs", 90
        )
        time.sleep(5)
        first, cpu = self._started(), cpu_time(run.pid)
        time.sleep(seconds)
        started = (self._started() - first - self._counter_processes) * 60 // seconds
        family = processes.family(run.pid)
        cpu = (cpu_time(run.pid) - cpu) * 60 / seconds
        memory = [private_memory(member.pid) for member in family if "luigi" in member.args]
        run.kill_all()
        # the jobs in the container
        self.host.run("pkill", "-x", "sleep", check=False)
        return Waiting(started, len(family), memory, cpu)

    def exists(self, delay: float) -> tuple[float, float, float, float]:
        """Seconds per `exists()` of a path: Luigi, an ssh client of the master, this package, `exists_many`."""
        proxy = Proxy((self.host.hostname, self.host.port), delay)
        config = self.root / f"through-{proxy.port}"
        config.write_text(through(proxy, self.host.ssh_config, self.host.port))
        luigis = luigi.contrib.ssh.RemoteFileSystem(
            "127.0.0.1",
            port=str(proxy.port),
            username=self.host.username,
            key_file=str(self.host.key_file),
            no_host_key_check=True,
        )
        luigi.configuration.get_config().set("sshjob", "ssh_config", str(config))
        ours = RemoteFileSystem(self.host.alias)
        ours.exists("/")
        paths = [f"/tmp/nothing-{number}" for number in range(1000)]
        # ssh warns about a new known host each time
        with discarded_stderr():
            theirs = timed(lambda: [luigis.exists(path) for path in paths[:10]]) / 10
        master = ours.remote_context.connection.transport.master
        client = ["ssh", "-F", config, "-S", master.control_path, self.host.alias, "test -e /tmp"]
        seconds = (
            theirs,
            timed(lambda: [subprocess.run(client, stdin=subprocess.DEVNULL, check=True) for _ in range(20)]) / 20,
            timed(lambda: [ours.exists(path) for path in paths[:200]]) / 200,
            timed(lambda: ours.exists_many(paths)) / 1000,
        )
        ours.remote_context.close()
        proxy.close()
        return seconds

    def with_faults(self, jobs: int, seed: int) -> tuple[int, int, int, int]:
        """Kill several leaders with SIGKILL, then end the master, while jobs run.

        Returns the numbers of killed leaders, of jobs that did not succeed or ran twice, of logins, and of all jobs.
        """
        self.disconnect()
        chance = random.Random(seed)
        log_length = len(self.host.log_text())
        folder = self.folder()
        leaders = [self._start_leader() for _ in range(3)]
        run, notes = self.start(jobs, folder)
        for leader in leaders:
            # the earlier processes become the leader one after the other, then luigi
            time.sleep(chance.uniform(1, 3))
            leader.kill()
            leader.wait()
        time.sleep(chance.uniform(0, 2))
        self.disconnect()
        run.wait()
        return (
            len(leaders),
            self._bad(jobs, folder, notes),
            len(ACCEPTED.findall(self.host.log_text()[log_length:])),
            jobs,
        )

    def with_workers_killed(self, jobs: int, seed: int) -> tuple[int, int]:
        """Kill a worker at random times and start it again, until all its jobs are done.

        Returns the numbers of killed workers and of jobs that did not succeed or ran twice.
        """
        chance = random.Random(seed)
        folder = self.folder()
        run, notes = self.start(jobs, folder, kind="held")
        kills = 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(chance.uniform(1, 6))
            if run.poll() is not None:
                # the notes lack the jobs that a killed worker completed
                ledger = self.host.run("cat", f"{folder}/ledger").split()
                bad = len(set(map(str, range(jobs))) ^ set(ledger)) + len(ledger) - len(set(ledger))
                return kills, bad + run.log.read_text().count(" failed    Sleeper")
            run.kill_all()
            kills += 1
            run, _ = self.start(jobs, folder, kind="held", notes=notes)

    def _start_leader(self) -> subprocess.Popen[str]:
        """Start a process that is the leader, or becomes it after the earlier ones."""
        script = (
            "import sys, time\nfrom luigi_sshjob import RemoteFileSystem\nfiles = RemoteFileSystem(sys.argv[1])\n"
            "files.exists('/')\nprint('ready', flush=True)\nwhile True:\n  files.exists('/')\n  time.sleep(0.1)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, self.host.alias], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return process

    def disconnect(self) -> None:
        """End the connection, so that the next run logs in."""
        exit_masters(self.runtime_dir, self.host)

    def close(self) -> None:
        """Remove the host and all processes."""
        self.disconnect()
        remove(self.host, self.root)


def _most_sessions(log: str) -> int:
    now = most = 0
    for word in re.findall("(Starting|Close) session: ", log):
        now += 1 if word == "Starting" else -1
        most = max(most, now)
    return most
