"""`luigi-sshjob collect` and `forget`: mark outcomes as collected."""

from __future__ import annotations

import argparse

from luigi_sshjob.cli.each_job import for_each_job
from luigi_sshjob.cli.render import strip_escapes
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome


def collect(arguments: argparse.Namespace) -> int:
    """Mark ended jobs as collected."""
    return for_each_job(arguments, _collect)


def forget(arguments: argparse.Namespace) -> int:
    """Remove ended jobs, collected or not; with `--lost` also give up jobs whose end cannot be found out."""
    return for_each_job(arguments, _give_up if arguments.lost else _forget)


def _collect(host: HostJobs, job: JobRef) -> str:
    outcome = _outcome(host, job)
    host.client.collect(job)
    return f"{job.id} was marked as collected: {strip_escapes(str(outcome))}"


def _forget(host: HostJobs, job: JobRef) -> str:
    outcome = _outcome(host, job)
    host.client.collect(job)
    if outcome.state == "lost":
        # a lost job has no record that could be kept in its place
        host.listing.discard([job])
    else:
        host.client.remove(job)
    host.forget(job)
    return f"{job.id} was removed"


def _give_up(host: HostJobs, job: JobRef) -> str:
    status = host.client.status(job)
    if status.outcome:
        return _forget(host, job)
    host.client.give_up(job, status)
    host.client.collect(job)
    host.forget(job)
    return (
        f"{job.id} was given up as lost: it was {strip_escapes(f'{status.state.value}: {status.reason}')}\n"
        f"If it still runs, it was not ended, so its files were kept: {strip_escapes(job.directory)}\n"
        "The next run of its task is a new attempt"
    )


def _outcome(host: HostJobs, job: JobRef) -> Outcome:
    status = host.client.status(job)
    if status.outcome is None:
        raise _not_ended(host, job, status)
    return status.outcome


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
