"""`luigi-sshjob gc`: remove old attempts."""

from __future__ import annotations

import argparse
import sys

from luigi_sshjob.cli.hosts import find_hosts
from luigi_sshjob.cli.render import format_age, print_json, strip_escapes
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.listing import JobSummary


def run(arguments: argparse.Namespace) -> int:
    """Remove attempts collected at least `--older-than` ago, by the host's clock. Others are kept."""
    removed, uncollected = [], 0
    for host in find_hosts(arguments, arguments.host):
        attempts = host.listing.attempts()
        uncollected += sum(each.state.final and not each.collected for each in attempts)
        old = [each for each in attempts if is_old(host.host, each, arguments.older_than)]
        if not arguments.dry_run:
            host.listing.discard([each.job for each in old])
        removed += old
    if arguments.json:
        print_json([each.job.id for each in removed])
    else:
        for each in removed:
            print(
                f"{strip_escapes(f'{each.job.id} {each.status_word}')}, collected {format_age(each.collected_ago)} ago"
            )
    print(f"{len(removed)} {'would be removed' if arguments.dry_run else 'removed'}", file=sys.stderr)
    if uncollected:
        print(
            f"{uncollected} kept, because they ended but were not collected: run their tasks, or `collect` or `forget` "
            "them",
            file=sys.stderr,
        )
    return 0


def is_old(host: str, attempt: JobSummary, limit: float) -> bool:
    """Whether it was collected at least `limit` seconds ago. Raises `JobError` if its age is unknown."""
    if not (attempt.state.final and attempt.collected):
        return False
    if attempt.collected_ago is None:
        raise JobError(
            "the age of an attempt is unknown: the host has no stat(1)",
            host=host,
            job=attempt.job.id,
            next_step="remove single attempts with `luigi-sshjob forget`; nothing was removed",
        )
    return attempt.collected_ago >= limit
