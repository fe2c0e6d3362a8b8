"""Waits for a job, or cancels it, and retries while its host is unreachable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from luigi_sshjob.error_context import error_context, translate_os_errors
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.actions import Action
from luigi_sshjob.jobs.cancel import SLOW, Canceller
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import JobRef, JobStatus
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.tracker import LAUNCHES, JobTracker, Limits, stuck_error
from luigi_sshjob.jobs.watcher import JobWatcher, WatchedJob
from luigi_sshjob.retry import HostOutage, Retry, SharedRetry
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response


class JobMonitor:
    """Waits for single jobs; times are in seconds."""

    def __init__(
        self,
        client: JobClient,
        retry: Retry,
        *,
        poll_interval: float,
        start_timeout: float,
        launches: float = LAUNCHES,
        queue_timeout: float = 0,
    ):
        self._client = client
        self._retry = retry
        self._poll_interval = poll_interval
        self._limits = Limits(start_timeout, retry.timeout, launches, queue_timeout)

    def wait(
        self,
        job: JobRef,
        observe: Callable[[JobStatus], None],
        go_on: Callable[[], None] = lambda: None,
        offset: int = 0,
    ) -> Outcome:
        """Waits until the job has ended and its whole log from `offset` in bytes was received.

        Calls `observe` with each new status, and every few seconds with the last one; calls `go_on`, which may raise,
        every few seconds.

        Raises `HostUnreachable` when the host was unreachable for too long, `LoginRefused` when it does not accept a
        login any more, `JobError` when the job cannot be started or its directory cannot be read for too long, or when
        it was queued for longer than the `queue_timeout`. The job is not affected by any of them.
        """
        tracker = self.tracker(job, observe, offset)
        outcomes: list[Outcome] = []
        errors: list[BaseException] = []
        outage = HostOutage()
        retry = SharedRetry(self._retry.timeout, outage)
        retry.on_retry = self._retry.on_retry

        def perform(action: Action) -> None:
            tracker.launch_error = self._retry.call(lambda: self._client.perform(job, action))

        with translate_os_errors("watching the job", host=job.host, job=job.id):
            watcher = JobWatcher(self._client.connection, outage, tick=1.0)
        try:
            watcher.add(WatchedJob(tracker, retry, self._poll_interval, outcomes.append, errors.append, perform))
            while not outcomes:
                go_on()
                watcher.turn()
                if errors:
                    raise errors[0]
        finally:
            watcher.close()
        return outcomes[0]

    def tracker(self, job: JobRef, observe: Callable[[JobStatus], None], offset: int = 0) -> JobTracker:
        """A tracker for a job that is watched by other means than `wait`."""
        return JobTracker(job, observe, self._limits, self._client.command_line("forget --lost", job), offset)

    def cancel(self, job: JobRef, grace: float, by: str = "") -> Outcome:
        """Ends the job, with a grace period between SIGTERM and SIGKILL, and waits until it has ended.

        The exit record says `by`, by default this process.

        Raises `JobError` if the host is not the machine that it runs on, or cannot read its directory, or if the job
        does not end within the grace period and the timeout for an unreachable host.
        """

        def send(verb: str, calls: Sequence[tuple[str, ...]]) -> list[Response]:
            # without a supervisor the request takes as long as the killing
            return [
                self._retry.call(
                    lambda: self._client.connection.request(
                        verb,
                        *words,  # noqa: B023  # called before the next iteration
                        dedicated_session=verb in SLOW,
                    )
                )
                for words in calls
            ]

        def fail(job: JobRef, reason: str) -> None:
            raise JobError(
                f"the job cannot be cancelled from this host: {reason}",
                host=job.host,
                job=job.id,
                next_step="use the machine that the job runs on as the host, or, if the job is certainly not running "
                f"any more, give it up with `{self._client.command_line('forget --lost', job)}`",
            )

        since = time.monotonic()
        with error_context("cancelling the job", job=job.id):
            interval = self._client.connection.settings.scheduler_interval
            canceller = Canceller([(job, grace)], send, interval, fail, by)
            with reading_response("job_cancel", job.host):
                status = canceller.run(since + self._retry.timeout + grace)[job]
        if status.outcome:
            return status.outcome
        raise stuck_error(
            job,
            status,
            time.monotonic() - since,
            why=status.reason,
            doing="cancelling the job",
            next_step="check its processes on the host; then cancel it again",
        )
