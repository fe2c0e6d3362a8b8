"""`luigi-sshjob ls`: list attempts."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.hosts import find_hosts
from luigi_sshjob.cli.render import (
    format_age,
    print_json,
    print_rich,
    status_details,
    stdout_console,
    strip_escapes,
    styled,
    summary_dict,
)
from luigi_sshjob.errors import ConnectionFailed, JobNotFound, SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.listing import JobSummary, SendRequests
from luigi_sshjob.jobs.names import AttemptName

_DAY = 86400.0  # seconds


@dataclasses.dataclass
class _Page:
    """A page of the attempts of one or more hosts; how many were `hidden` as old, and are `left` for later pages."""

    attempts: list[JobSummary] = dataclasses.field(default_factory=list)
    hidden: int = 0
    left: int = 0
    errors: list[SSHJobError] = dataclasses.field(default_factory=list)


def run(arguments: argparse.Namespace) -> int:
    """List all hosts concurrently; an unreachable one does not hide the others."""
    hosts = [host for name in arguments.hosts or [None] for host in find_hosts(arguments, name)]
    if not hosts:
        raise JobNotFound("no host was used recently from here", next_step="name one: luigi-sshjob ls HOST")
    if arguments.watch:
        return _watch(hosts, arguments)
    with _list_hosts(hosts, arguments) as list_all:
        page = list_all()
    if arguments.json:
        print_json([summary_dict(each) for each in page.attempts])
    elif page.attempts:
        print_rich(_table(page.attempts))
    _print_rest(page, arguments)
    for error in page.errors:
        print(f"luigi-sshjob: {error}", file=sys.stderr)
    return 3 if page.errors else 0


def _watch(hosts: list[HostJobs], arguments: argparse.Namespace) -> int:
    console = stdout_console()
    if not console.is_terminal or arguments.json:
        print("luigi-sshjob: --watch needs a terminal, and cannot be used with --json", file=sys.stderr)
        return 2
    with _list_hosts(hosts, arguments) as list_all, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            page = list_all()
            more = f", {page.left} more" if page.left else ""
            footer = Text(time.strftime(f"%H:%M:%S{more}, Ctrl-C ends"), "dim")
            errors = (Text(str(error), "red") for error in page.errors)
            live.update(Group(_table(page.attempts), *errors, footer), refresh=True)
            time.sleep(arguments.interval)


@contextlib.contextmanager
def _list_hosts(hosts: list[HostJobs], arguments: argparse.Namespace) -> Iterator[Callable[[], _Page]]:
    """Yield a function that lists all hosts concurrently, each over one session that stays open for the next call."""
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=len(hosts)))
        listings = [_HostListing(host, stack, arguments) for host in hosts]

        def list_all() -> _Page:
            pages = list(threads.map(lambda listing: listing.page(), listings))
            return _Page(
                sorted((each for page in pages for each in page.attempts), key=_order),
                sum(page.hidden for page in pages),
                sum(page.left for page in pages),
                [error for page in pages for error in page.errors],
            )

        yield list_all


class _HostListing:
    """Lists one host over a session that is opened again after a failure."""

    def __init__(self, host: HostJobs, stack: contextlib.ExitStack, arguments: argparse.Namespace):
        self._listing = host.listing
        self._arguments = arguments
        self._session = stack.enter_context(contextlib.ExitStack())
        self._send: SendRequests | None = None

    def page(self) -> _Page:
        try:
            if self._send is None:
                self._send = self._session.enter_context(self._listing.session())
            return self._page(self._send)
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                self._session.close()
                self._send = None
            return _Page(errors=[error])

    def _page(self, send: SendRequests) -> _Page:
        names = self._listing.names(send)
        shown = [name for name in names if self._arguments.all or _is_recent(name)]
        begin = self._arguments.skip
        end = begin + self._arguments.limit if self._arguments.limit else len(shown)
        attempts = self._listing.survey(shown[begin:end], send)
        return _Page(attempts, len(names) - len(shown), max(0, len(shown) - end))


def _is_recent(name: AttemptName) -> bool:
    return not name.collected or name.collected_ago is None or name.collected_ago < _DAY


def _order(attempt: JobSummary) -> tuple[str, bool, float, str]:
    """By host; active attempts first, then the last ended ones."""
    since = math.inf if attempt.since is None else attempt.since
    return attempt.job.host, attempt.state.final, since, attempt.job.id


def _print_rest(page: _Page, arguments: argparse.Namespace) -> None:
    if page.left:
        skip = arguments.skip + arguments.limit
        print(f"{page.left} more: see the next ones with --skip {skip}, or all with --limit 0", file=sys.stderr)
    if page.hidden and not arguments.json:
        text = f"{page.hidden} collected more than a day ago: see them with ls --all, remove them with gc"
        print(text, file=sys.stderr)
    elif not page.attempts and not arguments.json:
        print("no jobs", file=sys.stderr)


def _table(attempts: list[JobSummary]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    several_hosts = len({each.job.host for each in attempts}) > 1
    if several_hosts:
        table.add_column("HOST", overflow="fold")
    table.add_column("JOB", overflow="fold")
    table.add_column("STATE", overflow="fold")
    table.add_column("AGE", no_wrap=True)
    table.add_column("PROGRESS", overflow="ellipsis", no_wrap=True)
    table.add_column("LAST LINE", overflow="ellipsis", no_wrap=True)
    for each in attempts:
        cells: list[RenderableType] = [
            Text(strip_escapes(each.job.id)),
            styled(each.status_word, status_details(each.status)),
            Text(format_age(each.since) + (" ago" if each.state.final and each.since is not None else "")),
            Text(strip_escapes(each.status.progress)),
            Text(strip_escapes(each.last_line)),
        ]
        table.add_row(*([Text(strip_escapes(each.job.host))] if several_hosts else []), *cells)
    return table
