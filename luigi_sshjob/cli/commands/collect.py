"""`luigi-sshjob collect` and `forget`: all jobs that are named, or none."""

from __future__ import annotations

import argparse

from luigi_sshjob.cli.hosts import find
from luigi_sshjob.cli.render import print_outcome
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, Outcome


def collect(arguments: argparse.Namespace) -> int:
    """Marks them as taken over."""
    for site, job, outcome in _ended(arguments):
        site.client.collect(job)
        print_outcome(job, outcome)
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Removes them, collected or not."""
    for site, job, outcome in _ended(arguments):
        site.client.collect(job)
        if outcome.state == "lost":
            # it has no record that the mark could hold in its stead
            site.listing.discard([job])
        else:
            site.client.remove(job)
        print(f"{job.id} was removed")
    return 0


def _ended(arguments: argparse.Namespace) -> list[tuple[HostJobs, JobRef, Outcome]]:
    ended = []
    for site, job in find(arguments, arguments.jobs):
        standing = site.client.status(job)
        if standing.outcome is None:
            raise JobError(
                f"the job has not ended: it is {standing.state.value}",
                host=job.host,
                job=job.id,
                next_step=f"wait for it, or end it with `{site.client.command_line('kill', job)}`",
            )
        ended.append((site, job, standing.outcome))
    return ended
