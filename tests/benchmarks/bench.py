"""What many jobs at once cost, counted on a dockerised default sshd: `tox -e bench`.

Counts come from sshd's log and from the numbers that the container's kernel gives to processes; times are of this run
and this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import luigi.configuration
import luigi.contrib.ssh

from luigi_sshjob import RemoteFileSystem

from benchmarks.files import FileBench
from benchmarks.transports import Transports
from support import docker_engine, processes
from support.control_master import exit_masters
from support.hosts import ACCEPTED, DockerHost
from support.luigi_command import Luigi
from support.network_proxy import Proxy, through

OWN_PROCESSES = 2  # of one Sleeper: its shell, its sleep
OURS = ("ours", "held")  # with a process for each job, and without


@dataclass
class Figures:
    """One run of N jobs."""

    jobs: int
    logins: int
    drops: int
    failed: int
    sessions: int
    processes: float
    known: list[float]
    overhead: float
    submissions: float
    """A second, between the claim of the first job and that of the last."""

    def rows(self) -> list[str]:
        """As they stand below each other in the table."""
        known = [statistics.median(self.known), _percentile(self.known, 0.95)] if self.known else []
        counts = [self.jobs, self.logins, self.drops, self.failed, self.sessions]
        times = [f"{seconds:.2f} s" for seconds in known] or ["", ""]
        return [*map(str, counts), f"{self.processes:.1f}", *times, f"{self.overhead:.1f} s"]


@dataclass
class Waiting:
    """A minute in which nothing happens: processes started on the host, processes here, the KiB that each of the Python
    ones, the worker first, shares with nobody, and the seconds of processor time of all."""

    started: int
    processes: int
    luigis: list[int]
    cpu: float


ROWS = (
    "jobs of 9 s at once",
    "accepted logins",
    "drops and refused sessions",
    "failed or doubled jobs",
    "sessions open at one time",
    "remote processes a job, its own aside",
    "end to known, median",
    "end to known, 95th percentile",
    "overhead over a bare ssh",
)


class Bench:
    """A host of its own, and what is measured on it."""

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
        # what a look at the counter itself costs
        first, second = self._started(), self._started()
        self._look = second - first
        # an account's first login does more than the next
        self._bare(0)
        first = self._started()
        self.bare = self._bare()
        self.bare_processes = self._started() - first - self._look - 1

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
        """The `luigi` command on so many jobs at once, and the folder of its notes."""
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
        """A new one on the host."""
        return self.host.run("mktemp", "-d").strip()

    def measure(self, jobs: int, kind: str = "ours") -> Figures:
        """N jobs of 9 seconds at once."""
        self.disconnect()
        log_length = len(self.host.log_text())
        folder = self.folder()
        started, begin = self._started(), time.monotonic()
        run, notes = self.start(jobs, folder, kind=kind)
        run.wait()
        took = time.monotonic() - begin
        started = self._started() - started - self._look
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
        """How many jobs did not succeed, or ran twice."""
        ledger = self.host.run("cat", f"{folder}/ledger").split()
        known = {int(note.name) for note in notes.iterdir() if note.name.isdigit()}
        return len(set(range(jobs)) ^ known) + len(ledger) - len(set(ledger))

    def _delays(self, folder: str, notes: Path) -> list[float]:
        # time(1) writes there when the command is over, before anything of ours happens
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
        """What it costs that nothing happens; CPU and processes of `seconds`, as of a minute."""
        run, _ = self.start(jobs, self.folder(), seconds=90 + jobs // 10, kind=kind)
        processes.wait_until(
            lambda: run.log.read_text().count(" submitted as ") == jobs, "the submission of all jobs", 90
        )
        time.sleep(5)
        first, cpu = self._started(), _cpu(run.pid)
        time.sleep(seconds)
        started = (self._started() - first - self._look) * 60 // seconds
        family = processes.family(run.pid)
        cpu = (_cpu(run.pid) - cpu) * 60 / seconds
        luigis = [_memory(member.pid) for member in family if "luigi" in member.args]
        run.kill_all()
        # in the container: what the jobs wait for
        self.host.run("pkill", "-x", "sleep", check=False)
        return Waiting(started, len(family), luigis, cpu)

    def exists(self, delay: float) -> tuple[float, float, float, float]:
        """Seconds for `exists()` of a path: Luigi's own, a client of the master, ours, all paths in one question."""
        wire = Proxy((self.host.hostname, self.host.port), delay)
        config = self.root / f"through-{wire.port}"
        config.write_text(through(wire, self.host.ssh_config, self.host.port))
        luigis = luigi.contrib.ssh.RemoteFileSystem(
            "127.0.0.1",
            port=str(wire.port),
            username=self.host.username,
            key_file=str(self.host.key_file),
            no_host_key_check=True,
        )
        luigi.configuration.get_config().set("sshjob", "ssh_config", str(config))
        ours = RemoteFileSystem(self.host.alias)
        ours.exists("/")
        paths = [f"/tmp/nothing-{number}" for number in range(1000)]
        # ssh says each time that it has a new known host
        with _quiet():
            theirs = _timed(lambda: [luigis.exists(path) for path in paths[:10]]) / 10
        master = ours.remote_context.connection.transport.master
        client = ["ssh", "-F", config, "-S", master.control_path, self.host.alias, "test -e /tmp"]
        seconds = (
            theirs,
            _timed(lambda: [subprocess.run(client, stdin=subprocess.DEVNULL, check=True) for _ in range(20)]) / 20,
            _timed(lambda: [ours.exists(path) for path in paths[:200]]) / 200,
            _timed(lambda: ours.exists_many(paths)) / 1000,
        )
        ours.remote_context.close()
        wire.close()
        return seconds

    def with_faults(self, jobs: int, seed: int) -> tuple[int, int, int, int]:
        """Leaders killed with -9, another one each time, then the master ended, while so many jobs run.

        Returns the numbers of leaders killed, of jobs that did not succeed or ran twice, of logins, and of all jobs.
        """
        self.disconnect()
        chance = random.Random(seed)
        log_length = len(self.host.log_text())
        folder = self.folder()
        leaders = [self._process_that_asks() for _ in range(3)]
        run, notes = self.start(jobs, folder)
        for leader in leaders:
            # those that asked before luigi did lead one after the other, then luigi itself
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
        """A worker that holds so many jobs is killed with -9 at random moments, and started again until all is done.

        Returns the numbers of workers killed and of jobs that did not succeed or ran twice.
        """
        chance = random.Random(seed)
        folder = self.folder()
        run, notes = self.start(jobs, folder, kind="held")
        kills = 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(chance.uniform(1, 6))
            if run.poll() is not None:
                # what a killed worker has seen to its end is complete, but not in the notes
                ledger = self.host.run("cat", f"{folder}/ledger").split()
                bad = len(set(map(str, range(jobs))) ^ set(ledger)) + len(ledger) - len(set(ledger))
                return kills, bad + run.log.read_text().count(" failed    Sleeper")
            run.kill_all()
            kills += 1
            run, _ = self.start(jobs, folder, kind="held", notes=notes)

    def _process_that_asks(self) -> subprocess.Popen[str]:
        """Leads, or will when those before it have ended."""
        script = (
            "import sys, time\nfrom luigi_sshjob import RemoteFileSystem\nfiles = RemoteFileSystem(sys.argv[1])\n"
            "files.exists('/')\nprint('asked', flush=True)\nwhile True:\n  files.exists('/')\n  time.sleep(0.1)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, self.host.alias], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return process

    def disconnect(self) -> None:
        """The next run logs in anew."""
        exit_masters(self.runtime_dir, self.host)

    def close(self) -> None:
        """Nothing stays behind."""
        self.disconnect()
        own = [p.pid for p in processes.running() if p.names(str(self.root)) and p.pid != os.getpid()]
        processes.kill(own)
        self.host.stop()
        shutil.rmtree(self.root)


def _most_sessions(log: str) -> int:
    now = most = 0
    for word in re.findall("(Starting|Close) session: ", log):
        now += 1 if word == "Starting" else -1
        most = max(most, now)
    return most


def _memory(pid: int) -> int:
    """KiB that the process shares with nobody."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def _cpu(pid: int) -> float:
    ticks = 0
    for member in processes.family(pid):
        fields = Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What processes of this one write on standard error meanwhile is dropped."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    yield
    os.dup2(kept, 2)
    os.close(kept)


def _timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _table(runs: list[Figures]) -> None:
    columns = [run.rows() for run in runs]
    for number, name in enumerate(ROWS):
        print(f"{name:40}" + "".join(f"{column[number]:>12}" for column in columns), flush=True)


def _held(bench: Bench, jobs: int, many: int, kills: bool) -> None:
    """The worker that holds jobs beside Luigi's own."""
    print("\nwithout a process for each job" + (f" ({jobs}, then {many})" if many else "") + ", and with one")
    kinds = [(jobs, "held"), (many, "held"), (jobs, "ours")]
    runs = [bench.measure(count, kind) for count, kind in kinds if count]
    _table(runs)
    print(f"{'submissions a second':40}" + "".join(f"{run.submissions:>12.0f}" for run in runs))
    if kills:
        killed, bad = bench.with_workers_killed(jobs, seed=1)
        print(f"with {killed} workers killed during {jobs} jobs: {bad} jobs that failed, did not run, or ran twice")
    sys.stdout.flush()
    # Luigi's own worker, beside the processes of its two jobs
    idle = bench.minute_of_waiting(2, seconds=1).luigis[0]
    held, own = (bench.minute_of_waiting(jobs, kind, seconds=20) for kind in ("held", "ours"))
    for name, waiting in (("no process for each", held), ("a process for each", own)):
        memory = (sum(waiting.luigis) - idle) / jobs
        print(
            f"a minute of waiting for {jobs} jobs, {name}: {waiting.processes} local processes, memory a job above an "
            f"idle Luigi worker {memory:.0f} KiB, CPU {waiting.cpu:.1f} s, {waiting.started} remote processes"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 20, 120, 200])
    parser.add_argument("--silent", type=int, default=200, help="jobs that say nothing for a minute")
    parser.add_argument("--peers", type=int, default=20, help="jobs that other ways of doing it are given")
    parser.add_argument("--faults", type=int, default=200, help="jobs during which leaders are killed")
    parser.add_argument("--mib", type=int, default=1024, help="size of a file that is copied")
    parser.add_argument("--files", type=int, default=10_000, help="small files that are copied")
    parser.add_argument("--stream", type=int, default=1024, help="MiB that each transport carries each way")
    parser.add_argument("--only-transports", action="store_true", help="compare these, and nothing else")
    parser.add_argument("--held", type=int, default=500, help="jobs that one process holds, and as many processes")
    parser.add_argument("--many", type=int, default=2000, help="jobs that one process holds at the most")
    parser.add_argument("--only-held", action="store_true", help="the worker that holds jobs, and nothing else")
    arguments = parser.parse_args()
    bench = Bench()
    try:
        # the scripts are installed on the host once, by whoever comes first
        bench.measure(1)
        if arguments.only_held:
            _held(bench, arguments.held, arguments.many, bool(arguments.faults))
            return 0
        print("\n".join(Transports(bench, bench.configuration).compare(arguments.peers or 1, arguments.stream)))
        if arguments.only_transports:
            return 0
        runs = [bench.measure(jobs) for jobs in arguments.jobs]
        print(f"a bare ssh, its login and all: {bench.bare_processes} remote processes, {bench.bare:.1f} s")
        _table(runs)
        if arguments.peers:
            print("\nside by side: this package, luigi.contrib.ssh polling by hand, one blocking ssh a job")
            _table([bench.measure(arguments.peers, kind) for kind in ("ours", "by hand", "blocking")])
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
        if arguments.silent:
            waiting = bench.minute_of_waiting(arguments.silent)
            memory = statistics.median(waiting.luigis[1:]) / 1024
            print(
                f"remote processes started by one minute of waiting for {arguments.silent} silent jobs: "
                f"{waiting.started}\nprivate memory of a waiting task process, median: {memory:.1f} MiB\n"
                f"CPU of all {waiting.processes} local processes in that minute: {waiting.cpu:.1f} s"
            )
        if arguments.held:
            _held(bench, arguments.held, arguments.many, bool(arguments.faults))
        if arguments.faults:
            killed, bad, logins, jobs = bench.with_faults(arguments.faults, seed=1)
            print(
                f"with {killed} leaders killed and the master ended during {jobs} jobs: {bad} bad jobs, {logins} logins"
            )
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
