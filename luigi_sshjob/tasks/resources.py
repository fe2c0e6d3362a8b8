"""Luigi resources that limit how many jobs run on a host at once.

A scheduler assumes a limit of 1 for a resource without one, so a task may only request resources that are configured,
or a fraction of an implicit one.
"""

from __future__ import annotations

import re

from luigi_sshjob import config
from luigi_sshjob.destination import Destination


def host_resources(host: Destination) -> dict[str, float]:
    """One of each name of the host in `[resources]`, and 1/`max_jobs` of an implicit resource if `max_jobs` is set.

    The implicit resource has no limit in any scheduler's configuration, so its limit is 1 in each of them. Raises
    `ConfigurationError`.
    """
    known = config.resources()
    found: dict[str, float] = {name: 1 for name in resource_names(host) if name in known}
    max_jobs = config.get_settings(host).max_jobs
    if max_jobs:
        # the half keeps the rounded sum of max_jobs fractions below 1
        found[f"sshjob.{resource_names(host)[-1]}"] = 1 / (max_jobs + 0.5)
    return found


def resource_names(host: Destination) -> list[str]:
    """Names of a host in `[resources]`: the most specific first, the one without the account last.

    A key of an INI file cannot contain a colon, so me@box:22 is `me@box_22`. Two accounts share one machine.
    """
    machine = f"{host.host}:{host.port}" if host.port else host.host
    named = [f"{host.username}@{machine}", f"{host.username}@{host.host}"] if host.username else []
    named += [host.host, machine]
    return list(dict.fromkeys(re.sub(r"[^\w.@-]", "_", name) for name in named))
