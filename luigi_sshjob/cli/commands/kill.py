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
    return f"{job.id} {strip_escapes(str(host.cancel(job)))}"
