"""Access to the jobs of one host below one base directory."""

from __future__ import annotations

import re
from functools import cached_property

from luigi_sshjob.error_context import error_context
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.listing import JobListing
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.connection import Connection

_NAME = re.compile(r"(?P<key>[^/]+)(/(?P<attempt>[1-9][0-9]*))?", re.DOTALL)


class HostJobs:
    """Makes the client, the monitor and the listing of a host, by default with the settings of the host.

    Times are seconds. Raises `ConfigurationError` for a base directory that is not a path.
    """

    def __init__(
        self,
        connection: Connection,
        base_dir: str,
        launcher: Launcher | None = None,
        *,
        poll_interval: float | None = None,
        kill_grace: float | None = None,
        queue_timeout: float | None = None,
    ):
        settings = connection.settings
        self.connection = connection
        self.base_dir = base_dir
        self.launcher = launcher or get_launcher(settings.launcher)
        self.kill_grace = settings.kill_grace if kill_grace is None else kill_grace
        self._queue_timeout = settings.queue_timeout if queue_timeout is None else queue_timeout
        self._poll_interval = settings.poll_interval if poll_interval is None else poll_interval
        self.client = JobClient(connection, base_dir, self.launcher)

    @property
    def host(self) -> str:
        """The host as the user names it."""
        return self.connection.host

    @cached_property
    def listing(self) -> JobListing:
        """Lists, inspects and removes attempts."""
        return JobListing(self.connection, self.base_dir)

    def retry(self) -> Retry:
        """Retries for `unreachable_timeout`."""
        return Retry(self.connection.settings.unreachable_timeout)

    def brief_retry(self) -> Retry:
        """Retries for the time of one request only, for callers that cannot wait longer."""
        settings = self.connection.settings
        return Retry(min(settings.unreachable_timeout, settings.request_timeout))

    def monitor(self, retry: Retry | None = None) -> JobMonitor:
        """Waits for jobs, and cancels them."""
        return JobMonitor(
            self.client,
            retry or self.retry(),
            poll_interval=self._poll_interval,
            start_timeout=self.launcher.start_timeout,
            launches=self.launcher.launches,
            queue_timeout=self._queue_timeout,
        )

    def cancel(self, job: JobRef, retry: Retry | None = None, by: str = "") -> Outcome:
        """End the job with all its processes: TERM, `kill_grace` seconds, KILL. Returns when it has ended.

        The exit record says `by`, by default this process.
        """
        return self.monitor(retry).cancel(job, self.kill_grace, by)

    def forget(self, job: JobRef) -> None:
        """Leave a collected attempt out of listings from now on, also if files of it are kept."""
        with error_context("forgetting it", job=job.id):
            self.connection.request("job_forget", job.directory)

    def find(self, name: str, listed: bool = False) -> JobRef | None:
        """By KEY/ATTEMPT, or by KEY for the newest attempt; if `listed`, for the newest one that was not forgotten."""
        match = _NAME.fullmatch(name)
        return self.client.find(match["key"], int(match["attempt"] or 0) or None, listed) if match else None
