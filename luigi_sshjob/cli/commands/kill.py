"""`luigi-sshjob kill`, for all named jobs or none."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from luigi_sshjob.cli.hosts import find_jobs
from luigi_sshjob.cli.render import strip_escapes

_CONCURRENT = 4  # each uses a session during the job's kill_grace


def run(arguments: argparse.Namespace) -> int:
    """End jobs by SIGTERM and, after their kill_grace, SIGKILL. Returns when all their processes have ended."""
    jobs = find_jobs(arguments, arguments.jobs)
    with ThreadPoolExecutor(_CONCURRENT) as threads:
        futures = [(job, threads.submit(host.cancel, job)) for host, job in jobs]
        for job, future in futures:
            print(f"{job.id} {strip_escapes(str(future.result()))}")
    return 0
