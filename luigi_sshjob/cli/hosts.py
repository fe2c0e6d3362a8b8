"""The jobs of one host below one base directory, as the command line finds them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from luigi_sshjob import config
from luigi_sshjob.errors import JobNotFound
from luigi_sshjob.jobs import recent
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.listing import JobListing
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.recent import JobLocation
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext


class Site:
    """What the subcommands need of a host."""

    def __init__(self, place: JobLocation, no_host_key_check: bool = False):
        self.host = place.host
        options = {name: getattr(place, name) for name in ("key_file", "transport", "sshpass")}
        connection = RemoteContext(place.host, no_host_key_check=no_host_key_check, **options).connection
        settings = connection.settings
        launcher = get_launcher(settings.launcher)
        self.control = JobClient(connection, place.base_dir, launcher)
        self.survey = JobListing(connection, place.base_dir)
        self.grace = settings.kill_grace
        self.monitor = JobMonitor(
            self.control,
            Retry(settings.unreachable_timeout),
            poll_interval=settings.poll_interval,
            start_timeout=launcher.start_timeout,
            launches=launcher.launches,
        )

    def find(self, name: str) -> JobRef | None:
        """By KEY/ATTEMPT, or by KEY for the newest attempt."""
        key, _, attempt = name.rpartition("/") if "/" in name else (name, "", "")
        newest = self.control.latest(key)
        if newest and attempt in ("", str(newest.attempt)):
            return newest
        # an older one, if there is such
        return next((each.job for each in self.survey.attempts() if each.job.id == f"{key}/{attempt}"), None)


def sites(arguments: argparse.Namespace, host: str | None = None) -> list[Site]:
    """Those of a host: below the directory that is named, else below [sshjob]'s and those used there lately; those of
    all hosts used lately where none is named."""
    lately = recent.places()
    if host is None:
        known = [place for place in lately if arguments.base_dir in (None, place.base_dir)]
    else:
        known = [place for place in lately if place.host == host]
        usual = known[0] if known else JobLocation(host, "")
        wanted = arguments.base_dir or config.settings(host).base_dir
        first = next(
            (place for place in known if place.base_dir == wanted), dataclasses.replace(usual, base_dir=wanted)
        )
        known = [first] if arguments.base_dir else [first, *(place for place in known if place != first)]
    given = {
        name: getattr(arguments, name) for name in ("key_file", "transport", "sshpass") if getattr(arguments, name)
    }
    return [Site(dataclasses.replace(place, **given), arguments.no_host_key_check) for place in known]


def find(arguments: argparse.Namespace, names: Sequence[str]) -> list[tuple[Site, JobRef]]:
    """All the jobs that are named. Raises `JobNotFound` where there is not each of them."""
    places = sites(arguments, arguments.host)
    found = []
    for name in names:
        there = ((site, site.find(name)) for site in places)
        site, job = next(((site, job) for site, job in there if job), (places[0], None))
        if job is None:
            raise JobNotFound(
                "there is no such job",
                host=site.host,
                job=name,
                next_step=f"look with `luigi-sshjob ls -a {site.host}`",
            )
        found.append((site, job))
    return found
