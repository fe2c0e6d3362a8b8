"""`luigi-sshjob kill`: all jobs that are named, or none."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from luigi_sshjob.cli.hosts import find
from luigi_sshjob.cli.render import print_outcome

_AT_ONCE = 4  # each takes a session for as long as the job's grace


def kill(arguments: argparse.Namespace) -> int:
    """TERM, grace, KILL; returns when nothing of them is left."""
    found = find(arguments, arguments.jobs)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        ends = [(job, threads.submit(site.cancel, job)) for site, job in found]
        for job, end in ends:
            print_outcome(job, end.result())
    return 0
