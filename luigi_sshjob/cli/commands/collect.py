"""`luigi-sshjob collect` and `forget`, for all named jobs or none."""

from __future__ import annotations

import argparse

from luigi_sshjob.cli.hosts import find_jobs
from luigi_sshjob.cli.render import strip_escapes
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, Outcome


def collect(arguments: argparse.Namespace) -> int:
    """Mark ended jobs as collected."""
    for host, job, outcome in _find_ended(arguments):
        host.client.collect(job)
        print(f"{job.id} {strip_escapes(str(outcome))}")
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Remove ended jobs, collected or not."""
    for host, job, outcome in _find_ended(arguments):
        host.client.collect(job)
        if outcome.state == "lost":
            # a lost job has no record that could be kept in its place
            host.listing.discard([job])
        else:
            host.client.remove(job)
        print(f"{job.id} was removed")
    return 0


def _find_ended(arguments: argparse.Namespace) -> list[tuple[HostJobs, JobRef, Outcome]]:
    ended = []
    for host, job in find_jobs(arguments, arguments.jobs):
        status = host.client.status(job)
        if status.outcome is None:
            raise JobError(
                f"the job has not ended: it is {status.state.value}",
                host=job.host,
                job=job.id,
                next_step=f"wait for it, or end it with `{host.client.command_line('kill', job)}`",
            )
        ended.append((host, job, status.outcome))
    return ended
