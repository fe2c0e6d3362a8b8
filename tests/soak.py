"""Runs many short jobs while the ControlMaster is killed at random: `tox -e soak -- --jobs 10000`.

Then it checks that each job ran exactly once, that descriptors, threads, entries of the runtime directory and the
package's memory stayed constant, and that there was at most one login more than deaths of the master. Prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import random
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import luigi
from luigi.configuration import add_config_path

import luigi_sshjob
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.any_host import remove, start_any_host

PACKAGE = f"{Path(luigi_sshjob.__file__).parent}/*"
BYTES_PER_JOB = 200.0  # of the package; more is a leak
ROUND = 100  # jobs of one build; samples are taken in between
# What one session needs, which may be open in one half of a short run only.
OF_SESSION = {"descriptors": 6, "threads": 1, "entries": 2}
PERIOD = 5.0  # seconds between two deaths of the master, on average


class Counted(luigi_sshjob.RemoteJobTask):
    """Adds a line to a file of its own on the host."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def command(self) -> str:
        return f"echo ran >>{self.folder}/{self.number}"


class Sample:
    """What must not grow with the number of jobs."""

    def __init__(self, runtime_dir: Path):
        gc.collect()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.threads = threading.active_count()
        self.entries = sum(1 for _ in runtime_dir.rglob("*"))
        traces = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(inclusive=True, filename_pattern=PACKAGE)]
        )
        self.bytes = sum(statistic.size for statistic in traces.statistics("filename"))


class Soak:
    """One run."""

    def __init__(self, seed: int, jobs: int):
        self.random = random.Random(seed)
        self.jobs = jobs
        self.root, self.host, self.folder = start_any_host()
        self.runtime_dir = self.root / "r"
        configuration = self.root / "luigi.cfg"
        configuration.write_text(
            f"[sshjob]\nssh_config={self.host.ssh_config}\nruntime_dir={self.runtime_dir}\n"
            f"base_dir={self.folder}/base\ncleanup=on_success\n"
        )
        os.environ["XDG_STATE_HOME"] = str(self.root)
        add_config_path(str(configuration))
        self.started = self.deaths = 0
        self.samples: list[tuple[int, Sample]] = []
        self.findings: list[str] = []
        self._over = threading.Event()

    def run(self, minutes: float) -> None:
        """Run rounds of jobs until all have run, or the time is over; then check the results."""
        tracemalloc.start()
        killer = threading.Thread(target=self._kill_masters)
        killer.start()
        deadline = time.monotonic() + 60 * minutes
        try:
            while self.started < self.jobs and time.monotonic() < deadline:
                count = min(ROUND, self.jobs - self.started, max(10, self.jobs // 4))
                self._round(range(self.started, self.started + count))
                self.started += count
                self.samples.append((self.started, Sample(self.runtime_dir)))
        finally:
            self._over.set()
            killer.join()
        self._check()

    def _round(self, numbers: range) -> None:
        tasks = [Counted(host=self.host.alias, folder=self.folder, number=number) for number in numbers]
        if not luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=ROUND, log_level="ERROR"):
            self.findings.append(f"a job of {numbers.start} to {numbers.stop - 1} failed")
        # Luigi keeps each task as long as the process
        luigi.task_register.Register.clear_instance_cache()

    def _kill_masters(self) -> None:
        while not self._over.wait(self.random.uniform(0, 2 * PERIOD)):
            masters = [
                process.pid
                for process in processes.running()
                if str(self.runtime_dir) in process.args and ("[mux]" in process.args or " -M " in process.args)
            ]
            for pid in masters:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
                    self.deaths += 1

    @property
    def bytes_per_job(self) -> float:
        """Growth of the package's memory between the first sample, after the warm-up, and the last one."""
        (first_count, first), (count, last) = self.samples[0], self.samples[-1]
        return (last.bytes - first.bytes) / max(1, count - first_count)

    def lowest(self, what: str) -> tuple[int, int]:
        """The lowest numbers in the two halves of the run: a leak raises the lowest, too."""
        numbers = [getattr(sample, what) for _, sample in self.samples]
        half = (len(numbers) + 1) // 2
        return min(numbers[:half]), min(numbers[half - 1 :])

    def _check(self) -> None:
        script = f"cd {self.folder} && find . -name '[0-9]*' -type f -prune | xargs grep -c ran /dev/null"
        lines = self.host.run("sh", "-c", script, check=False).splitlines()
        ran = Counter({name: int(count) for name, _, count in (line.rpartition(":") for line in lines)})
        self.findings += [
            f"job {number} ran {ran[f'./{number}']} times" for number in range(self.started) if ran[f"./{number}"] != 1
        ]
        for what, of_session in OF_SESSION.items():
            before, after = self.lowest(what)
            if after > before + of_session:
                self.findings.append(f"{what} grew from {before} to {after}")
        if self.bytes_per_job > BYTES_PER_JOB and self.started >= 5 * ROUND:
            self.findings.append(f"the memory of the package grew by {self.bytes_per_job:.0f} bytes a job")
        if self.logins > self.deaths + 1:
            self.findings.append(f"{self.logins} logins for {self.deaths} deaths of the master")

    @property
    def logins(self) -> int:
        """Logins that the host has accepted."""
        return self.host.accepted_logins()

    def print_table(self) -> None:
        """Print what was counted, and the findings."""
        print(f"{'jobs':44}{self.started:>8}\n{'masters killed':44}{self.deaths:>8}\n{'logins':44}{self.logins:>8}")
        for what in OF_SESSION:
            name = {"entries": "files of runtime_dir"}.get(what, what)
            before, after = self.lowest(what)
            print(f"{name + ', lowest in each half':44}{before:>8}{after:>8}")
        print(f"{'memory of the package, bytes a job':44}{self.bytes_per_job:>8.0f}")
        for finding in self.findings:
            print(f"soak: {finding}")

    def close(self) -> None:
        """Remove the host, all processes and files."""
        close_shells()
        remove(self.host, self.root, self.folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60, help="start no more jobs after this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"soak: seed {arguments.seed}, {arguments.jobs} jobs", flush=True)
    logging.getLogger("luigi-interface").setLevel(logging.ERROR)
    soak = Soak(arguments.seed, arguments.jobs)
    try:
        soak.run(arguments.minutes)
        soak.print_table()
    finally:
        soak.close()
    return 1 if soak.findings else 0


if __name__ == "__main__":
    sys.exit(main())
