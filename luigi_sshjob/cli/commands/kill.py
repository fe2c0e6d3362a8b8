"""`luigi-sshjob kill`: cancel jobs."""

from __future__ import annotations

import argparse

from luigi_sshjob.cli.each_job import for_each_job
from luigi_sshjob.cli.render import strip_escapes
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef

_CONCURRENT = 4  # each uses a session during the job's kill_grace


def run(arguments: argparse.Namespace) -> int:
    """End jobs by SIGTERM and, after their kill_grace, SIGKILL. Returns when all their processes have ended."""
    return for_each_job(arguments, _kill, _CONCURRENT)


def _kill(host: HostJobs, job: JobRef) -> str:
    outcome = host.cancel(job)
    # any other one is the result of this command, or may be
    ended_before = outcome.state in ("succeeded", "failed", "timed_out")
    return f"{job.id} {'had already ended: ' * ended_before}{strip_escapes(str(outcome))}"
