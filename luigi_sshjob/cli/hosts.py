"""The jobs of one host below one base directory, as the command line finds them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from luigi_sshjob import config
from luigi_sshjob.errors import JobNotFound
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.recent import JobLocation, recent_locations
from luigi_sshjob.targets.context import RemoteContext


def sites(arguments: argparse.Namespace, host: str | None = None) -> list[HostJobs]:
    """Those of a host: below the directory that is named, else below [sshjob]'s and those used there lately; those of
    all hosts used lately where none is named."""
    lately = recent_locations()
    if host is None:
        known = [place for place in lately if arguments.base_dir in (None, place.base_dir)]
    else:
        known = [place for place in lately if place.host == host]
        usual = known[0] if known else JobLocation(host, "")
        wanted = arguments.base_dir or config.get_settings(host).base_dir
        first = next(
            (place for place in known if place.base_dir == wanted), dataclasses.replace(usual, base_dir=wanted)
        )
        known = [first] if arguments.base_dir else [first, *(place for place in known if place != first)]
    given = {
        name: getattr(arguments, name) for name in ("key_file", "transport", "sshpass") if getattr(arguments, name)
    }
    return [_jobs(dataclasses.replace(place, **given), arguments.no_host_key_check) for place in known]


def find(arguments: argparse.Namespace, names: Sequence[str]) -> list[tuple[HostJobs, JobRef]]:
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


def _jobs(place: JobLocation, no_host_key_check: bool) -> HostJobs:
    options = {name: getattr(place, name) for name in ("key_file", "transport", "sshpass")}
    context = RemoteContext(place.host, no_host_key_check=no_host_key_check, **options)
    return HostJobs(context.connection, place.base_dir)
