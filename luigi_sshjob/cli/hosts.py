"""Finds the hosts and base directories that a command line refers to."""

from __future__ import annotations

import argparse
import dataclasses

from luigi_sshjob import config
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.recent import JobLocation, recent_locations
from luigi_sshjob.targets.context import RemoteContext


def recent_hosts() -> list[str]:
    """The hosts of the last 30 days, the most recent first."""
    return list(dict.fromkeys(location.host for location in recent_locations()))


def find_hosts(arguments: argparse.Namespace, host: str | None = None) -> list[HostJobs]:
    """Return the jobs of a host in each base directory that may contain some, or those of all recently used hosts.

    The base directories of a host are `--base-dir`, or the one of its settings and those used recently.
    """
    recent = recent_locations()
    if host is None:
        locations = [location for location in recent if arguments.base_dir in (None, location.base_dir)]
    else:
        recent = [location for location in recent if location.host == host]
        base_dir = arguments.base_dir or config.get_settings(host).base_dir
        # options of the last use also apply to another base directory
        default = dataclasses.replace(recent[0] if recent else JobLocation(host, ""), base_dir=base_dir)
        first = next((location for location in recent if location.base_dir == base_dir), default)
        locations = [first]
        if not arguments.base_dir:
            locations += [location for location in recent if location != first]
    options = {
        name: getattr(arguments, name) for name in ("key_file", "transport", "sshpass") if getattr(arguments, name)
    }
    return [_host_jobs(dataclasses.replace(location, **options), arguments.no_host_key_check) for location in locations]


def _host_jobs(location: JobLocation, no_host_key_check: bool) -> HostJobs:
    options = {name: getattr(location, name) for name in ("key_file", "transport", "sshpass")}
    context = RemoteContext(location.host, no_host_key_check=no_host_key_check, **options)
    return HostJobs(context.connection, location.base_dir)
