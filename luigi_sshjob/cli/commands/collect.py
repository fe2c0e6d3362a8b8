"""`luigi-sshjob collect` and `forget`, for all named jobs or none."""

from __future__ import annotations

import argparse

from luigi_sshjob.cli.hosts import find_jobs
from luigi_sshjob.cli.render import strip_escapes
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State


def collect(arguments: argparse.Namespace) -> int:
    """Mark ended jobs as collected."""
    for host, job, outcome in _find_ended(arguments):
        host.client.collect(job)
        print(f"{job.id} {strip_escapes(str(outcome))}")
    return 0


def forget(arguments: argparse.Namespace) -> int:
    """Remove ended jobs, collected or not; with `--lost` also give up jobs whose end cannot be found out."""
    given_up = _give_up(arguments) if arguments.lost else []
    arguments.jobs = [name for name in arguments.jobs if name not in given_up]
    for host, job, outcome in _find_ended(arguments):
        host.client.collect(job)
        if outcome.state == "lost":
            # a lost job has no record that could be kept in its place
            host.listing.discard([job])
        else:
            host.client.remove(job)
        print(f"{job.id} was removed")
    return 0


def _give_up(arguments: argparse.Namespace) -> list[str]:
    given_up = []
    for name, (host, job) in zip(arguments.jobs, find_jobs(arguments, arguments.jobs), strict=True):
        status = host.client.status(job)
        if status.outcome:
            continue
        host.client.give_up(job, status)
        host.client.collect(job)
        given_up.append(name)
        print(
            f"{job.id} was given up as lost: it was {strip_escapes(f'{status.state.value}: {status.reason}')}\n"
            f"If it still runs, it was not ended, so its files were kept: {strip_escapes(job.directory)}\n"
            "The next run of its task is a new attempt"
        )
    return given_up


def _find_ended(arguments: argparse.Namespace) -> list[tuple[HostJobs, JobRef, Outcome]]:
    ended = []
    for host, job in find_jobs(arguments, arguments.jobs):
        status = host.client.status(job)
        if status.outcome is None:
            raise _not_ended(host, job, status)
        ended.append((host, job, status.outcome))
    return ended


def _not_ended(host: HostJobs, job: JobRef, status: JobStatus) -> JobError:
    end = f"end it with `{host.client.command_line('kill', job)}`"
    if status.state in (State.ELSEWHERE, State.UNKNOWN):
        end = (
            f"if it is certainly not running any more, give it up with "
            f"`{host.client.command_line('forget --lost', job)}`: its outcome is then unknown, and it is not ended"
        )
    return JobError(
        f"the job has not ended: it is {status.state.value}{f' ({status.reason})' if status.reason else ''}",
        host=job.host,
        job=job.id,
        next_step=f"wait for it, or {end}",
    )
