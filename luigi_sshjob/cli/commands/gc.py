"""`luigi-sshjob gc`: remove old attempts, and unused local copies of the host's files."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from luigi_sshjob.cli.hosts import find_hosts
from luigi_sshjob.cli.render import format_age, print_json, strip_escapes
from luigi_sshjob.cli.states import spoken
from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.listing import JobSummary, batches
from luigi_sshjob.jobs.names import AttemptName
from luigi_sshjob.ssh.shell.errors import SendRequests
from luigi_sshjob.targets.host_cache import HostCache
from luigi_sshjob.targets.local_copies import remove_unused_copies


@dataclasses.dataclass
class _Result:
    removed: list[JobSummary] = dataclasses.field(default_factory=list)
    uncollected: int = 0
    cached: int = 0
    """Inputs in the cache that no job uses any more."""
    refusals: list[JobError] = dataclasses.field(default_factory=list)


def run(arguments: argparse.Namespace) -> int:
    """Remove attempts collected at least `--older-than` ago, by the host's clock. Others are kept.

    Each batch is removed and printed before the next one is requested; after an interruption, the next run continues.
    """
    result = _Result()
    hosts = find_hosts(arguments, arguments.host)
    # first, because the host may be unreachable
    _clean_copies({host.host for host in hosts}, arguments)
    for host in hosts:
        with host.listing.session() as send:
            _clean(host, send, arguments, result)
            _clean_cache(host, send, arguments, result)
    if arguments.json:
        print_json([each.job.id for each in result.removed])
    print(f"{len(result.removed)} {_done(arguments)}", file=sys.stderr)
    if result.cached:
        print(f"{result.cached} unused inputs {_done(arguments)} from the cache", file=sys.stderr)
    if result.uncollected:
        print(
            f"{result.uncollected} kept, because they ended but were not collected: run their tasks, or `collect` or "
            "`forget` them",
            file=sys.stderr,
        )
    for refusal in result.refusals:
        print(f"luigi-sshjob: {refusal}", file=sys.stderr)
    return 3 if result.refusals else 0


def _clean_copies(hosts: set[str], arguments: argparse.Namespace) -> None:
    count = remove_unused_copies(hosts, arguments.older_than, dry_run=arguments.dry_run)
    if count:
        print(f"{count} local {'copy' if count == 1 else 'copies'} {_done(arguments)}", file=sys.stderr)


def _done(arguments: argparse.Namespace) -> str:
    return "would be removed" if arguments.dry_run else "removed"


def _clean(host: HostJobs, send: SendRequests, arguments: argparse.Namespace, result: _Result) -> None:
    names = host.listing.names(send)
    old = [name for name in names if is_old(host.host, name, arguments.older_than)]
    result.uncollected += sum(name.recorded and not name.collected for name in names)
    # one without an exit record is lost, or has not ended
    unrecorded = [name for name in names if not name.recorded and not name.collected]
    result.uncollected += sum(each.state.final for each in host.listing.survey(unrecorded, send, tail=0))
    for batch in batches(old):
        found = [each for each in host.listing.survey(batch, send, tail=0) if each.state.final and each.collected]
        if not arguments.dry_run:
            refusals = host.listing.discard_each([each.job for each in found], send)
            result.refusals += refusals.values()
            found = [each for each in found if each.job not in refusals]
        result.removed += found
        if not arguments.json:
            for each in found:
                what = strip_escapes(f"{each.job.id} {spoken(each.status_word)}")
                print(f"{what}, collected {format_age(each.collected_ago)} ago", flush=True)


def _clean_cache(host: HostJobs, send: SendRequests, arguments: argparse.Namespace, result: _Result) -> None:
    """Inputs that attempts still have are kept by the host, so that nothing is sent twice."""
    cache = HostCache(host.connection, host.base_dir)
    old = [entry.name for entry in cache.entries(send) if entry.unused_for >= arguments.older_than]
    result.cached += len(old) if arguments.dry_run else sum(len(cache.remove(batch, send)) for batch in batches(old))


def is_old(host: str, name: AttemptName, limit: float) -> bool:
    """Whether it was collected at least `limit` seconds ago. Raises `JobError` if its age is unknown."""
    if not name.collected:
        return False
    if name.collected_ago is None:
        raise JobError(
            "the age of an attempt is unknown: the host has no stat(1)",
            host=host,
            job=name.id,
            next_step="remove single attempts with `luigi-sshjob forget`; nothing was removed",
        )
    return name.collected_ago >= limit
