"""The attempt of a run, which may have to be cancelled by those who do not hold the run."""

from __future__ import annotations

import dataclasses
import logging

from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef

logger = logging.getLogger("luigi-interface")


@dataclasses.dataclass
class SubmittedJob:
    """The attempt of a run; `ref` is None before the host has responded to its submission."""

    ref: JobRef | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """No retry follows."""
        self.cancelled = True


def cancel_attempt(jobs: HostJobs, key: str, job: JobRef | None, reason: str) -> None:
    """End an attempt, by default the newest one, without waiting long for its host."""
    retry = jobs.brief_retry()
    job = job or retry.call(lambda: jobs.client.find(key))
    if job and not retry.call(lambda: jobs.client.status(job)).state.final:
        logger.info("%s on %s: cancelling, as %s", job.id, job.host, reason)
        logger.info("%s on %s %s", job.id, job.host, jobs.cancel(job, retry))
