"""Jobs on a host, without Luigi tasks."""

from __future__ import annotations

from luigi_sshjob import RemoteContext
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.listing import JobListing
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.retry import Retry

from support import processes


def cancel_running(listing: JobListing, monitor: JobMonitor) -> None:
    """Cancel what a test has left running."""
    for each in listing.attempts():
        if not each.state.final:
            monitor.cancel(each.job, grace=0)


class Bench:
    """Submits commands to the host and waits for them."""

    launcher = "nohup"

    def __init__(self, host, name: str):
        self.host = host
        self.folder = f"jobs-{name}"
        self.base = f"~/{self.folder}"
        self.key = "Task"
        self.go = f"{host.home}/{self.folder}-go"

    @property
    def client(self) -> JobClient:
        return JobClient(RemoteContext(self.host.alias).connection, self.base, get_launcher(self.launcher))

    @property
    def listing(self) -> JobListing:
        return JobListing(RemoteContext(self.host.alias).connection, self.base)

    @property
    def monitor(self) -> JobMonitor:
        return JobMonitor(self.client, Retry(60), poll_interval=0.5, start_timeout=10)

    def submit(self, command: str, **options):
        return self.client.submit(JobSpec(key=self.key, command=command, **options))

    def run(self, command: str, **options):
        """Run a job, wait for it, collect it, and return its outcome and log."""
        job = self.submit(command, **options).job
        log = bytearray()
        outcome = self.monitor.wait(job, lambda observation: log.extend(observation.log))
        self.client.collect(job)
        return outcome, bytes(log)

    def until_released(self, then: str = "true") -> str:
        """Return a command that runs until `release` is called."""
        return f"while ! [ -e {self.go} ]; do sleep 0.1; done; {then}"

    def release(self) -> None:
        self.host.run("touch", self.go)

    def running(self, text: str) -> bool:
        return any(text in args for _, args in self.host.processes())

    def wait_until_running(self, text: str) -> None:
        """Until a process of the host has the text in its arguments."""
        processes.wait_until(lambda: self.running(text), text)

    def supervisor(self) -> int:
        """The process id of a running supervisor. Those of other tests may be ending on the same host."""
        return next(pid for pid, args in self.host.processes() if "supervise.sh" in args and self.folder in args)

    def wait_for_file(self, path: str) -> None:
        processes.wait_until(lambda: self.host.run("sh", "-c", f"test -e {path} && echo yes || true"), path)
