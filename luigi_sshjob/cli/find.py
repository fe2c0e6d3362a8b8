"""Finds the jobs that a command line names, on one host or on all recently used ones."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from luigi_sshjob.cli.hosts import find_hosts, recent_hosts
from luigi_sshjob.cli.job_names import split_words
from luigi_sshjob.errors import JobError, JobNotFound, LoginRefused, SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef

Found = tuple[HostJobs, JobRef]
_T = TypeVar("_T")

_LISTED = 5  # candidates of an ambiguous name in an error


def find_job(arguments: argparse.Namespace) -> Found:
    """Return the job that `[HOST] JOB` names. Raises `JobNotFound`, or `JobError` if the name is ambiguous."""
    found, errors = _find(arguments, single=True)
    for error in errors:
        raise error
    return found[0]


def find_jobs(arguments: argparse.Namespace) -> tuple[list[Found], list[SSHJobError]]:
    """Return the jobs that `[HOST] JOB...` names, each once, and an error for each name that is not that of one job.

    Raises `ConnectionFailed` if a given host cannot be reached.
    """
    return _find(arguments, single=False)


def _find(arguments: argparse.Namespace, single: bool) -> tuple[list[Found], list[SSHJobError]]:
    recent = recent_hosts()
    names = split_words(arguments.words, recent, single)
    hosts = {host: find_hosts(arguments, host) for host in ([names.host] if names.host else recent)}
    if not hosts:
        raise JobNotFound(
            "no host was used recently from here",
            next_step="name the host, too: HOST JOB",
        )
    search = _Search(hosts, is_given=names.host is not None)
    found: dict[JobRef, Found] = {}
    errors: list[SSHJobError] = []
    try:
        for name in names.jobs:
            try:
                each = search.find(name)
                found[each[1]] = each
            except JobError as error:
                errors.append(error)
    except LoginRefused as error:
        if names.doubtful:
            words = shlex.join([str(names.host), *names.jobs])
            error.next_step += f"; if {names.host} is a job, give its host before it: HOST {words}"
        raise
    for host, failure in search.failed.items():
        print(f"luigi-sshjob: {host} was not searched: {failure.problem}", file=sys.stderr)
    return list(found.values()), errors


class _Search:
    """Looks for jobs on hosts, each with its base directories; the first one that has a job counts.

    An error of a host that was given is raised; the others are `failed` and left out.
    """

    def __init__(self, hosts: dict[str, list[HostJobs]], is_given: bool):
        self.failed: dict[str, SSHJobError] = {}
        self._hosts = hosts
        self._is_given = is_given

    def find(self, name: str) -> Found:
        """Find a job by its name, or by the beginning of its name."""
        found = self._named(name) or self._named(self._completed(name))
        if len(found) > 1:
            raise _ambiguous(name, [(jobs.host, job.id) for jobs, job in found])
        # it may have been removed meanwhile
        if not found:
            raise self._not_found(name)
        return found[0]

    def _named(self, name: str) -> list[Found]:
        """The attempt with this name on each host, or the newest one of the task, which may be forgotten if all are."""
        listed = "/" not in name and self._on_all(lambda base_dirs: _first(base_dirs, name, listed=True))
        return listed or self._on_all(lambda base_dirs: _first(base_dirs, name))

    def _completed(self, name: str) -> str:
        """The whole name of the only task whose name begins like this, with the attempt if one was given.

        The attempt does not help to choose the task: another one may get an attempt of that number at any moment.
        """
        prefix, slash, attempt = name.partition("/")
        tasks = self._on_all(lambda base_dirs: _beginning_with(base_dirs, prefix))
        if tasks and self.failed:
            raise JobError(
                "the name is incomplete, and not all recently used hosts could be searched for it",
                job=name,
                next_step=f"give the host, too: {shlex.join([tasks[0][0], name])}",
            )
        if len(tasks) > 1:
            raise _ambiguous(name, tasks)
        if not tasks:
            raise self._not_found(name)
        return tasks[0][1] + (slash + attempt if attempt else "")

    def _on_all(self, look: Callable[[Sequence[HostJobs]], list[_T]]) -> list[_T]:
        hosts = {host: base_dirs for host, base_dirs in self._hosts.items() if host not in self.failed}
        if not hosts:
            return []

        def result_of(base_dirs: Sequence[HostJobs]) -> list[_T] | SSHJobError:
            try:
                return look(base_dirs)
            except SSHJobError as error:
                return error

        found: list[_T] = []
        with ThreadPoolExecutor(len(hosts)) as threads:
            for host, result in zip(hosts, threads.map(result_of, hosts.values()), strict=True):
                if not isinstance(result, SSHJobError):
                    found += result
                elif self._is_given:
                    raise result
                else:
                    self.failed[host] = result
        return found

    def _not_found(self, name: str) -> JobNotFound:
        host = next(iter(self._hosts)) if self._is_given else None
        listing = shlex.join(["luigi-sshjob", "ls", "-a", *([host] if host else [])])
        step = f"list the jobs with `{listing}`"
        if self.failed:
            step = f"check with `luigi-sshjob doctor` why {', '.join(self.failed)} could not; or {step}"
        if name in self._hosts:
            step = f"name a job, too: {name} is a host; {step}"
        where = " on the hosts that could be searched" if self.failed else ""
        return JobNotFound(f"there is no such job{where}", host=host, job=name, next_step=step)


def _first(base_dirs: Sequence[HostJobs], name: str, listed: bool = False) -> list[Found]:
    return next(([(jobs, job)] for jobs in base_dirs if (job := jobs.find(name, listed))), [])


def _beginning_with(base_dirs: Sequence[HostJobs], prefix: str) -> list[tuple[str, str]]:
    """The host and name of each task that a listing shows and whose name begins like this."""
    tasks: set[tuple[str, str]] = set()
    for jobs in base_dirs if prefix else ():
        with jobs.listing.session() as send:
            names = jobs.listing.names(send)
        tasks.update((jobs.host, each.key) for each in names if each.key.startswith(prefix) and not each.forgotten)
    return sorted(tasks)


def _ambiguous(name: str, candidates: Sequence[tuple[str, str]]) -> JobError:
    listed = [shlex.join(words) for words in candidates]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    several_hosts = len({host for host, _ in candidates}) > 1
    return JobError(
        f"the name of the job is ambiguous; it may be {', '.join(listed[:_LISTED])}{more}",
        job=name,
        next_step=f"{'give the host and' if several_hosts else 'give'} more of the name, as in one of these",
    )
