"""`luigi-sshjob ls`: list attempts."""

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

_DAY = 86400.0  # seconds

Listings = tuple[list[JobSummary], list[SSHJobError]]


def run(arguments: argparse.Namespace) -> int:
    """List all hosts concurrently; an unreachable one does not hide the others."""
    hosts = [host for name in arguments.hosts or [None] for host in find_hosts(arguments, name)]
    if not hosts:
        raise JobNotFound("no host was used recently from here", next_step="name one: luigi-sshjob ls HOST")
    if arguments.watch:
        return _watch(hosts, arguments)
    with _list_hosts(hosts) as list_all:
        attempts, errors = list_all()
    shown = _visible(attempts, arguments.all)
    if arguments.json:
        print_json([summary_dict(each) for each in shown])
    else:
        _print(shown, hidden=len(attempts) - len(shown))
    for error in errors:
        print(f"luigi-sshjob: {error}", file=sys.stderr)
    return 3 if errors else 0


def _watch(hosts: list[HostJobs], arguments: argparse.Namespace) -> int:
    console = stdout_console()
    if not console.is_terminal or arguments.json:
        print("luigi-sshjob: --watch needs a terminal, and cannot be used with --json", file=sys.stderr)
        return 2
    with _list_hosts(hosts, math.inf) as list_all, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            attempts, errors = list_all()
            table = _table(_visible(attempts, arguments.all))
            footer = Text(time.strftime("%H:%M:%S, Ctrl-C ends"), "dim")
            live.update(Group(table, *(Text(str(error), "red") for error in errors), footer), refresh=True)
            time.sleep(arguments.interval)


@contextlib.contextmanager
def _list_hosts(hosts: list[HostJobs], deadline: float | None = None) -> Iterator[Callable[[], Listings]]:
    """Yield a function that lists all hosts concurrently, each over one session that stays open for the next call."""
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=len(hosts)))
        listings = [_HostListing(host, stack, deadline) for host in hosts]

        def list_all() -> Listings:
            results = list(threads.map(lambda listing: listing.attempts(), listings))
            attempts = [each for result in results if not isinstance(result, SSHJobError) for each in result]
            return sorted(attempts, key=_order), [result for result in results if isinstance(result, SSHJobError)]

        yield list_all


class _HostListing:
    """Lists one host over a session that is opened again after a failure."""

    def __init__(self, host: HostJobs, stack: contextlib.ExitStack, deadline: float | None):
        self._host = host
        self._deadline = deadline
        self._session = stack.enter_context(contextlib.ExitStack())
        self._send: SendRequests | None = None

    def attempts(self) -> list[JobSummary] | SSHJobError:
        try:
            if self._send is None:
                self._send = self._session.enter_context(self._host.listing.session(self._deadline))
            return self._host.listing.attempts(self._send)
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                self._session.close()
                self._send = None
            return error


def _order(attempt: JobSummary) -> tuple[str, bool, float, str]:
    """By host; active attempts first, then the last ended ones."""
    since = math.inf if attempt.since is None else attempt.since
    return attempt.job.host, attempt.state.final, since, attempt.job.id


def _visible(attempts: list[JobSummary], everything: bool) -> list[JobSummary]:
    return [
        each
        for each in attempts
        if everything or not each.collected or each.collected_ago is None or each.collected_ago < _DAY
    ]


def _print(attempts: list[JobSummary], hidden: int) -> None:
    if attempts:
        print_rich(_table(attempts))
    if hidden:
        print(f"{hidden} collected more than a day ago: see them with ls --all, remove them with gc", file=sys.stderr)
    elif not attempts:
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
