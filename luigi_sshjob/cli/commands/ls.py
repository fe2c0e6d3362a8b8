"""`luigi-sshjob ls`: list attempts."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from luigi_sshjob.cli.hosts import find_hosts
from luigi_sshjob.cli.job_table import job_table
from luigi_sshjob.cli.pages import Page, list_hosts
from luigi_sshjob.cli.render import distinct, print_errors, print_json, print_lines, stdout_console, summary_dict
from luigi_sshjob.cli.states import FAILURES, summary
from luigi_sshjob.errors import JobNotFound
from luigi_sshjob.jobs.host_jobs import HostJobs


def run(arguments: argparse.Namespace) -> int:
    """List all hosts concurrently; an unreachable one does not hide the others."""
    hosts = [host for name in dict.fromkeys(arguments.hosts or [None]) for host in find_hosts(arguments, name)]
    if not hosts:
        raise JobNotFound("no host was used recently from here", next_step="name one: luigi-sshjob ls HOST")
    if arguments.watch:
        return _watch(hosts, arguments)
    with list_hosts(hosts, arguments) as list_all:
        page = list_all()
    if arguments.json:
        print_json([summary_dict(each) for each in page.attempts])
    elif page.attempts:
        console = stdout_console()
        print_lines(console, job_table(page.attempts, console.width if console.is_terminal else None).lines)
    _print_rest(page, arguments)
    print_errors(page.errors)
    return 3 if page.errors else 0


def _watch(hosts: list[HostJobs], arguments: argparse.Namespace) -> int:
    console = stdout_console()
    if not console.is_terminal or arguments.json:
        print("luigi-sshjob: --watch needs a terminal, and cannot be used with --json", file=sys.stderr)
        return 2
    with list_hosts(hosts, arguments) as list_all, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_screen(console, list_all()), refresh=True)
            time.sleep(arguments.interval)


def _screen(console: Console, page: Page) -> Group:
    """What fits on the terminal: failures are first, so the last jobs are left out."""
    table = job_table(page.attempts, console.width)
    above = [Text(summary(page.attempts, page.total)), *table.header]
    below = [Text(str(error), "red") for error in distinct(page.errors)]
    room = console.height - _height(console, [*above, *below]) - 2
    shown: list[Text] = []
    left = page.left + len(table.rows)
    for row in table.rows:
        room -= _height(console, row)
        if room < 0:
            break
        shown += row
        left -= 1
    more = f"+{left} more; " if left else ""
    footer = Text(time.strftime(f"{more}%H:%M:%S %Z, Ctrl-C ends"), "dim")
    return Group(*above, *shown, *below, footer)


def _height(console: Console, lines: list[Text]) -> int:
    return sum(len(line.wrap(console, console.width)) for line in lines)


def _print_rest(page: Page, arguments: argparse.Namespace) -> None:
    """On stderr, so that programs read nothing but the table."""
    sys.stdout.flush()
    if page.total and not arguments.json:
        print(summary(page.attempts, page.total), file=sys.stderr)
    if page.left:
        skip = arguments.skip + arguments.limit
        # the state of an attempt on another page is not known
        failures = "" if arguments.state else f"; only failures with --state {','.join(FAILURES)}"
        text = f"{page.left} more: see the next ones with --skip {skip}, or all with --limit 0{failures}"
        print(text, file=sys.stderr)
    if page.hidden and not arguments.json:
        text = f"{page.hidden} collected more than a day ago: see them with ls --all, remove them with gc"
        print(text, file=sys.stderr)
    elif not page.total and not page.errors and not arguments.json:
        print("no jobs", file=sys.stderr)
