"""`luigi-sshjob gc`"""

from __future__ import annotations

import argparse
import sys

from luigi_sshjob.cli.hosts import sites
from luigi_sshjob.cli.render import age, print_json
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.listing import JobSummary


def run(arguments: argparse.Namespace) -> int:
    """Removes what has ended and was taken over so long ago by the host's own clock; what nobody took over stays."""
    removed, waiting = [], 0
    for site in sites(arguments, arguments.host):
        listed = site.listing.attempts()
        waiting += sum(each.state.final and not each.collected for each in listed)
        old = [each for each in listed if is_old(site.host, each, arguments.older_than)]
        if not arguments.dry_run:
            site.listing.discard([each.job for each in old])
        removed += old
    if arguments.json:
        print_json([each.job.id for each in removed])
    else:
        for each in removed:
            print(f"{each.job.id} {each.status_word}, collected {age(each.collected_ago)} ago")
    would = "would be removed" if arguments.dry_run else "removed"
    print(f"{len(removed)} {would}", file=sys.stderr)
    if waiting:
        print(
            f"{waiting} ended that no task has collected; they stay: run the task, or `collect` or `forget` them",
            file=sys.stderr,
        )
    return 0


def is_old(host: str, each: JobSummary, limit: float) -> bool:
    """Whether it was collected so many seconds ago, or more. Raises `JobError` where the host could not tell."""
    if not (each.state.final and each.collected):
        return False
    if each.collected_ago is None:
        raise JobError(
            "the host cannot tell how old it is: it has no stat(1)",
            host=host,
            job=each.job.id,
            next_step="remove single attempts with `luigi-sshjob forget`; nothing was removed",
        )
    return each.collected_ago >= limit
