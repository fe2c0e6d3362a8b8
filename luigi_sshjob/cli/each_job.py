"""Does something to each named job; one that fails does not stop the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from luigi_sshjob.cli.find import find_jobs
from luigi_sshjob.cli.render import print_errors
from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef


def for_each_job(arguments: argparse.Namespace, act: Callable[[HostJobs, JobRef], str], concurrent: int = 1) -> int:
    """Print what `act` returns for each job that the command line names, then all errors. Returns the exit status."""

    def act_on(host: HostJobs, job: JobRef) -> str:
        with error_context(host=job.host, job=job.id):
            return act(host, job)

    found, errors = find_jobs(arguments)
    with ThreadPoolExecutor(concurrent) as threads:
        futures = [threads.submit(act_on, host, job) for host, job in found]
        for future in futures:
            try:
                print(future.result(), flush=True)
            except SSHJobError as error:
                errors.append(error)
    print_errors(errors)
    return 3 if errors else 0
