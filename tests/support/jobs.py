"""Jobs on a host without a Luigi task around them."""

from __future__ import annotations

from luigi_sshjob import RemoteContext
from luigi_sshjob.jobs.client import JobControl
from luigi_sshjob.jobs.launchers.registry import launcher_named
from luigi_sshjob.jobs.listing import JobSurvey
from luigi_sshjob.jobs.monitor import Monitor
from luigi_sshjob.jobs.spec import JobRequest
from luigi_sshjob.retry import Patience

from support import processes


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
    def control(self) -> JobControl:
        return JobControl(RemoteContext(self.host.alias).connection, self.base, launcher_named(self.launcher))

    @property
    def survey(self) -> JobSurvey:
        return JobSurvey(RemoteContext(self.host.alias).connection, self.base)

    @property
    def monitor(self) -> Monitor:
        return Monitor(self.control, Patience(60), poll_interval=0.5, start_timeout=10)

    def submit(self, command: str, **options):
        return self.control.submit(JobRequest(key=self.key, command=command, **options))

    def run(self, command: str, **options):
        """(outcome, log) of a job that is waited for and collected."""
        job = self.submit(command, **options).job
        seen = bytearray()
        outcome = self.monitor.wait(job, lambda observation: seen.extend(observation.log))
        self.control.collect(job)
        return outcome, bytes(seen)

    def until_told(self, then: str = "true") -> str:
        """A command that lasts until `tell` is called, however long what a test does meanwhile takes here."""
        return f"while ! [ -e {self.go} ]; do sleep 0.1; done; {then}"

    def tell(self) -> None:
        self.host.run("touch", self.go)

    def running(self, text: str) -> bool:
        return any(text in args for _, args in self.host.processes())

    def wait_for_file(self, path: str) -> None:
        processes.wait_until(lambda: self.host.run("sh", "-c", f"test -e {path} && echo yes || true"), path)
