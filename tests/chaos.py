"""Causes faults at random times while jobs run: `tox -e chaos -- --seconds 600`.

It kills workers, masters, sessions and sshd, deletes files of running jobs, stops supervisors, renames the host, fills
its disk and remounts /proc. Then it checks that each job ran exactly once, that logs are complete, that failures had a
true reason, and that no process is left.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

from luigi.configuration import add_config_path

from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.any_host import remove, start_any_host
from support.chaos_program import run_program
from support.control_master import exit_masters
from support.hosts import DockerHost
from support.luigi_command import RETURN_CODES, Luigi
from support.sample_tasks import Restless

SMALL = "/small"  # a file system for the jobs
# why a task may fail: what was deleted or filled is the reason
TRUE_REASONS = re.compile(
    "an earlier attempt is still running|No space left on device|cannot create a job directory|cannot mark the outcome"
)
RUNS = 2  # `luigi` commands that run the same tasks at the same time
WORKERS = 6


class Chaos:
    """One run with random faults."""

    def __init__(self, seed: int, jobs: int):
        self.random = random.Random(seed)
        self.jobs = jobs
        self.root, self.host, self.folder = start_any_host(
            tmpfs={SMALL: "size=1g,uid=1000,mode=700"},
            cap_add=["SYS_ADMIN"],
            security_opt=["apparmor=unconfined"],
        )
        self.base = f"{SMALL if isinstance(self.host, DockerHost) else self.folder}/base"
        self.runtime_dir = self.root / "r"
        self.configuration = self.root / "luigi.cfg"
        self.configuration.write_text(
            f"[sshjob]\nssh_config={self.host.ssh_config}\nruntime_dir={self.runtime_dir}\n"
            f"base_dir={self.base}\npoll_interval=1\nrequest_timeout=10\n"
        )
        os.environ["LUIGI_CONFIG_PATH"] = str(self.configuration)
        os.environ["XDG_STATE_HOME"] = str(self.root)
        add_config_path(str(self.configuration))
        self.faults: Counter[str] = Counter()
        self.findings: list[str] = []
        self.luigis: list[Luigi] = []
        self.started = 0
        self.filled = False

    def run(self, seconds: float) -> None:
        """Run rounds of jobs with faults for some seconds, then check the results."""
        end = time.monotonic() + seconds
        while True:
            numbers = [
                (number, self.random.choice((1, 3, 10, 20, 40)))
                for number in range(self.started, self.started + self.jobs)
            ]
            self.started += self.jobs
            self._round(numbers, end)
            self._check(numbers)
            self.filled = False
            if time.monotonic() > end or self.findings:
                break
        self._check_nothing_runs()

    def _round(self, numbers: list[tuple[int, int]], end: float) -> None:
        """Restart luigi until one run succeeds."""
        deadline = max(end, time.monotonic()) + 300
        while True:
            self.luigis = [luigi for luigi in self.luigis if luigi.poll() is None or not self._must_replace(luigi)]
            if any(luigi.returncode == 0 for luigi in self.luigis):
                break
            while len(self.luigis) < RUNS:
                self.luigis.append(self._start_luigi(numbers))
            if time.monotonic() > deadline:
                self.findings.append("the jobs did not end")
                break
            time.sleep(self.random.uniform(0.1, 1.5))
            if time.monotonic() < end:
                self._inject_fault()
        for luigi in self.luigis:
            luigi.kill_all()
        self.luigis = []

    def _must_replace(self, luigi: Luigi) -> bool:
        """Whether an exited luigi must be replaced: it or a task was killed, or the host was unreachable."""
        text = luigi.log.read_text(errors="replace")
        failed = re.search(r"Worker .* failed +Restless", text)
        if failed and not TRUE_REASONS.search(text[failed.start() :]):
            self.findings.append(f"a task failed:\n{text[failed.start() :][:3000]}")
        return luigi.returncode != 0

    def _start_luigi(self, numbers: list[tuple[int, int]]) -> Luigi:
        return Luigi(
            self.root / f"luigi-{time.monotonic_ns()}.log",
            *("Restlessness", "--local-scheduler", "--workers", str(WORKERS)),
            *("--host", self.host.alias, "--folder", self.folder, "--numbers", json.dumps(numbers)),
            *RETURN_CODES,
            # Luigi's worker, or the worker of this package
            remote_jobs=self.random.choice((None, self.jobs)),
        )

    def _inject_fault(self) -> None:
        faults: list[Callable[[], object]] = [
            self.kill_a_luigi_with_all_its_tasks,
            self.kill_a_luigi_alone,
            self.kill_a_task,
            self.kill_the_master,
            self.end_the_master,
            self.kill_a_client,
            self.kill_a_remote_shell,
            self.delete_a_file_of_a_job,
            self.delete_a_job_directory,
            self.stop_a_supervisor,
        ]
        if isinstance(self.host, DockerHost):
            faults += [self.restart_sshd, self.kill_a_session, self.pause_the_host]
            faults += [self.rename_the_host, self.fill_the_disk, self.remount_proc]
        fault = self.random.choice(faults)
        if fault():
            self.faults[fault.__name__.replace("_", " ")] += 1

    def kill_a_luigi_with_all_its_tasks(self) -> bool:
        self.random.choice(self.luigis).kill_all()
        return True

    def kill_a_luigi_alone(self) -> bool:
        # its tasks continue as orphans
        return _sigkill(self.random.choice(self.luigis).pid)

    def kill_a_task(self) -> bool:
        tasks = [member.pid for luigi in self.luigis for member in processes.family(luigi.pid)[1:]]
        return bool(tasks) and _sigkill(self.random.choice(tasks))

    def kill_the_master(self) -> bool:
        masters = self._masters()
        return bool(masters) and _sigkill(self.random.choice(masters))

    def end_the_master(self) -> bool:
        exit_masters(self.runtime_dir, self.host)
        return True

    def kill_a_client(self) -> bool:
        clients = sorted(set(self._ssh()) - set(self._masters()))
        return bool(clients) and _sigkill(self.random.choice(clients))

    def kill_a_remote_shell(self) -> bool:
        shells = [pid for pid, args in self.host.processes() if args == "/bin/sh -s"]
        return bool(shells) and self._kill_on_host(self.random.choice(shells))

    def kill_a_session(self) -> bool:
        sessions = self._sshd()[1:]
        return bool(sessions) and self._kill_on_host(self.random.choice(sessions))

    def restart_sshd(self) -> bool:
        listener, *sessions = self._sshd()
        self.host.run("kill", "-HUP", str(listener), user="root", check=False)
        for pid in sessions:
            self._kill_on_host(pid)
        return True

    def pause_the_host(self) -> bool:
        assert isinstance(self.host, DockerHost)
        self.host.pause()
        time.sleep(self.random.uniform(0.5, 3))
        self.host.unpause()
        return True

    def delete_a_file_of_a_job(self) -> bool:
        names = ("started", "identity", "identity*", "spec", "digests", "run", "log", "started identity*")
        return self._delete(f"rm -rf {self.random.choice(names)}")

    def delete_a_job_directory(self) -> bool:
        return self._delete('rm -rf "$PWD"')

    def _delete(self, how: str) -> bool:
        """Only of a job whose command runs; what is needed to start it is needed before."""
        find = f"cd {self.base}/jobs && grep -ls '^command' */*/identity | while read -r file; do"
        find += ' dir=${file%/identity}; [ -e "$dir/exit_record" ] || echo "$dir"; done'
        found = self.host.run("sh", "-c", find, check=False).split()
        if found:
            directory = f"{self.base}/jobs/{self.random.choice(found)}"
            # stopped, so that it does not write its record at that moment: one that is deleted is lost in truth
            stop = "pid=$(sed -n 's/^pid: //p' identity) && kill -STOP $pid"
            delete = f"cd {directory} && {stop} && {{ [ -e exit_record ] || {how}; kill -CONT $pid; }}"
            self.host.run("sh", "-c", delete, check=False)
        return bool(found)

    def stop_a_supervisor(self) -> bool:
        found = [pid for pid, args in self.host.processes() if "supervise.sh" in args]
        if found:
            pid = str(self.random.choice(found))
            self.host.run("kill", "-STOP", pid, check=False)
            time.sleep(self.random.uniform(0.5, 3))
            self.host.run("kill", "-CONT", pid, check=False)
        return bool(found)

    def rename_the_host(self) -> bool:
        self.host.run("hostname", f"name{self.random.randrange(10**6)}", user="root")
        return True

    def fill_the_disk(self) -> bool:
        self.filled = True
        self.host.run("sh", "-c", f"cat /dev/zero >{SMALL}/filling 2>/dev/null", check=False)
        time.sleep(self.random.uniform(0.5, 2))
        self.host.run("rm", "-f", f"{SMALL}/filling")
        return True

    def remount_proc(self) -> bool:
        self.host.run("mount", "-o", f"remount,hidepid={self.random.choice((0, 2))}", "/proc", user="root")
        return True

    def _kill_on_host(self, pid: int) -> bool:
        self.host.run("kill", "-9", str(pid), check=False, user="root" if isinstance(self.host, DockerHost) else None)
        return True

    def _sshd(self) -> list[int]:
        return [int(pid) for pid in self.host.run("pgrep", "-x", "sshd", user="root").split()]

    def _masters(self) -> list[int]:
        return [pid for pid, args in self._ssh().items() if "[mux]" in args or " -M " in args]

    def _ssh(self) -> dict[int, str]:
        return {p.pid: p.args for p in processes.running() if str(self.runtime_dir) in p.args and "ssh" in p.args}

    def _check(self, numbers: list[tuple[int, int]]) -> None:
        ran = Counter(self.host.run("cat", f"{self.folder}/ledger").split())
        self.findings += [
            f"job {number} ran {ran[str(number)]} times" for number, _ in numbers if ran[str(number)] != 1
        ]
        for number, pieces in numbers:
            task = Restless(self.host.alias, self.folder, number, pieces)
            log = task.output()["log"]
            if not log.exists():
                self.findings.append(f"job {number} has no log")
                continue
            with log.open() as reader:
                # commands that cannot write on a full disk go on
                if reader.read().encode() != task.log() and not self.filled:
                    self.findings.append(f"the log of job {number} is incomplete")

    def _check_nothing_runs(self) -> None:
        def left() -> list[str]:
            found = (args for _, args in self.host.processes() if self.folder in args)
            return [args for args in found if "supervise.sh" in args or "/command" in args]

        try:
            processes.wait_until(lambda: not left(), "the end of all jobs")
        except TimeoutError:
            self.findings += [f"still running: {args}" for args in left()]

    def close(self) -> None:
        """Remove the host, all processes and files."""
        for luigi in self.luigis:
            luigi.kill_all()
        close_shells()
        remove(self.host, self.root, self.folder)

    def report(self) -> list[str]:
        """The faults and their number."""
        counts = [f"  {count:5d} x {fault}" for fault, count in sorted(self.faults.items())]
        faults, logins = sum(self.faults.values()), self.host.accepted_logins()
        return [*counts, f"chaos: {self.started} jobs, {faults} faults, {logins} logins"]


def _sigkill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(run_program("chaos", str(__doc__), Chaos, jobs=50))
