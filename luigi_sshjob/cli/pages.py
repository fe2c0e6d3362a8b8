"""Lists the attempts of several hosts concurrently, a page of each."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

from luigi_sshjob.cli.states import WITHOUT_RECORD, sort_attempts
from luigi_sshjob.errors import ConnectionFailed, SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.listing import JobSummary
from luigi_sshjob.jobs.names import AttemptName
from luigi_sshjob.ssh.shell.errors import SendRequests

_DAY = 86400.0  # seconds


@dataclasses.dataclass
class Page:
    """A page of the attempts of one or more hosts."""

    attempts: list[JobSummary] = dataclasses.field(default_factory=list)
    total: int = 0
    """All attempts of the hosts in any state, without the hidden ones."""
    hidden: int = 0
    """Those that were collected more than a day ago, unless `--all` lists them."""
    left: int = 0
    """Those for later pages."""
    errors: list[SSHJobError] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def list_hosts(hosts: Sequence[HostJobs], arguments: argparse.Namespace) -> Iterator[Callable[[], Page]]:
    """Yield a function that lists all hosts concurrently, each over one session that stays open for the next call."""
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=len(hosts)))
        listings = [_HostListing(host, stack, arguments) for host in hosts]

        def list_all() -> Page:
            pages = list(threads.map(lambda listing: listing.page(), listings))
            return Page(
                sort_attempts([each for page in pages for each in page.attempts], arguments.sort),
                sum(page.total for page in pages),
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
        self._states = frozenset(arguments.state or ())
        self._session = stack.enter_context(contextlib.ExitStack())
        self._send: SendRequests | None = None

    def page(self) -> Page:
        try:
            if self._send is None:
                self._send = self._session.enter_context(self._listing.session())
            return self._page(self._send)
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                self._session.close()
                self._send = None
            return Page(errors=[error])

    def _page(self, send: SendRequests) -> Page:
        names = self._listing.names(send)
        if not self._arguments.all:
            names = [name for name in names if not name.forgotten]
        shown = [name for name in names if self._arguments.all or _is_recent(name)]
        matching = self._in_chosen_state(_in_order(shown), send)
        begin = self._arguments.skip
        end = begin + self._arguments.limit if self._arguments.limit else len(matching)
        attempts = self._chosen(self._listing.survey(matching[begin:end], send))
        return Page(attempts, len(shown), len(names) - len(shown), max(0, len(matching) - end))

    def _in_chosen_state(self, names: list[AttemptName], send: SendRequests) -> list[AttemptName]:
        """Only the host knows their states, which takes a request for each 200 of them."""
        if not self._states:
            return names
        if self._states <= WITHOUT_RECORD:
            names = [name for name in names if not name.recorded]
        found = {each.job.id for each in self._chosen(self._listing.survey(names, send, tail=0))}
        return [name for name in names if name.id in found]

    def _chosen(self, attempts: list[JobSummary]) -> list[JobSummary]:
        return [each for each in attempts if each.status_word in self._states] if self._states else attempts


def _in_order(names: Sequence[AttemptName]) -> list[AttemptName]:
    """The order of all pages: in turn an attempt that ended, if recently, and one that has not ended; then the others.

    So the first page shows new failures, however many jobs are active, and active jobs, however many have ended. Ended
    attempts that a newer one of their task follows are among the others.
    """
    # the last one of a key counts
    newest = dict(sorted((name.key, name.attempt) for name in names))
    active = [name for name in names if not name.ended]
    recent = [name for name in names if name.ended and _is_recent(name) and name.attempt == newest[name.key]]
    first = dict.fromkeys(name for pair in zip_longest(recent, active) for name in pair if name)
    return [*first, *(name for name in names if name not in first)]


def _is_recent(name: AttemptName) -> bool:
    return not name.collected or name.collected_ago is None or name.collected_ago < _DAY
