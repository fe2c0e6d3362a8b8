"""`luigi-sshjob ls`"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.hosts import sites
from luigi_sshjob.cli.render import age, detail, plain, print_json, record, screen, show, styled
from luigi_sshjob.errors import ConnectionFailed, JobNotFound, SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.listing import JobSummary, SendRequests

_DAY = 86400.0

Attempts = list[JobSummary] | SSHJobError


def run(arguments: argparse.Namespace) -> int:
    """All hosts are asked at the same time; one that does not answer hides no other."""
    places = [site for host in arguments.hosts or [None] for site in sites(arguments, host)]
    if not places:
        raise JobNotFound("no host was used lately from here", next_step="name one: luigi-sshjob ls HOST")
    if arguments.watch:
        return _watch(places, arguments)
    with _looks(places) as look:
        found = look()
    failures = [each for each in found if isinstance(each, SSHJobError)]
    listed = _sorted([each for attempts in found if isinstance(attempts, list) for each in attempts])
    if arguments.json:
        print_json([record(each) for each in listed if arguments.all or _of_interest(each)])
    else:
        _print(listed, arguments.all)
    for failure in failures:
        print(f"luigi-sshjob: {failure}", file=sys.stderr)
    return 3 if failures else 0


def _watch(places: list[HostJobs], arguments: argparse.Namespace) -> int:
    terminal = screen()
    if not terminal.is_terminal or arguments.json:
        print("luigi-sshjob: --watch is for a terminal, and not with --json; repeat `ls` instead", file=sys.stderr)
        return 2
    with _looks(places, math.inf) as look, Live(console=terminal, screen=True, auto_refresh=False) as live:
        while True:
            found = look()
            listed = _sorted([each for attempts in found if isinstance(attempts, list) for each in attempts])
            shown = [each for each in listed if arguments.all or _of_interest(each)]
            said = [Text(str(each), "red") for each in found if isinstance(each, SSHJobError)]
            live.update(Group(_table(shown), *said, Text(time.strftime("%H:%M:%S, Ctrl-C ends"), "dim")), refresh=True)
            time.sleep(arguments.interval)


@contextlib.contextmanager
def _looks(
    places: list[HostJobs], deadline: float | None = None
) -> Iterator[Callable[[], list[list[JobSummary] | SSHJobError]]]:
    """Looks at all hosts at once, with one session each that is kept for the next look."""
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=len(places)))
        looks = [_Look(site, stack, deadline) for site in places]
        yield lambda: list(threads.map(lambda look: look(), looks))


class _Look:
    def __init__(self, site: HostJobs, stack: contextlib.ExitStack, deadline: float | None):
        self._site = site
        self._deadline = deadline
        self._session = stack.enter_context(contextlib.ExitStack())
        self._ask: SendRequests | None = None

    def __call__(self) -> Attempts:
        try:
            if self._ask is None:
                self._ask = self._session.enter_context(self._site.listing.session(self._deadline))
            return self._site.listing.attempts(self._ask)
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                self._session.close()
                self._ask = None
            return error


def _sorted(listed: list[JobSummary]) -> list[JobSummary]:
    """By host; what goes on first, then what ended last."""
    return sorted(
        listed,
        key=lambda each: (each.job.host, each.state.final, math.inf if each.since is None else each.since, each.job.id),
    )


def _of_interest(each: JobSummary) -> bool:
    return not each.collected or each.collected_ago is None or each.collected_ago < _DAY


def _print(listed: list[JobSummary], everything: bool) -> None:
    shown = [each for each in listed if everything or _of_interest(each)]
    if shown:
        show(_table(shown))
    hidden = len(listed) - len(shown)
    if hidden:
        print(f"{hidden} whose outcome was taken over a day ago or more: ls --all, or gc", file=sys.stderr)
    elif not shown:
        print("no jobs", file=sys.stderr)


def _table(listed: list[JobSummary]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    hosts = {each.job.host for each in listed}
    if len(hosts) > 1:
        table.add_column("HOST", overflow="fold")
    table.add_column("JOB", overflow="fold")
    table.add_column("STATE", overflow="fold")
    table.add_column("AGE", no_wrap=True)
    table.add_column("PROGRESS", overflow="ellipsis", no_wrap=True)
    table.add_column("LAST LINE", overflow="ellipsis", no_wrap=True)
    for each in listed:
        cells: list[RenderableType] = [
            Text(each.job.id),
            styled(each.status_word, detail(each.status)),
            Text(age(each.since) + (" ago" if each.state.final and each.since is not None else "")),
            Text(plain(each.status.progress)),
            Text(plain(each.last_line)),
        ]
        table.add_row(*([Text(each.job.host)] if len(hosts) > 1 else []), *cells)
    return table
