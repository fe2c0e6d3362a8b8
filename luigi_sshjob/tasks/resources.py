"""How many jobs a host may have at once: what a task asks of Luigi's scheduler as `resources`.

Luigi's scheduler counts a resource that it does not know as 1, so none may be asked for unless somebody wants a limit.
"""

from __future__ import annotations

import re

from luigi_sshjob import config
from luigi_sshjob.destination import Destination


def resources(host: Destination) -> dict[str, float]:
    """The names of a host, one of each, that `[resources]` has, as this process sees it; and its share of the host,
    where there is a `max_jobs`. Raises `ConfigurationError`.

    The share needs no limit in the configuration of any scheduler, wherever that runs: so much of the 1 that there is.
    """
    known = config.resources()
    found: dict[str, float] = {name: 1 for name in names(host) if name in known}
    max_jobs = config.get_settings(host).max_jobs
    if max_jobs:
        # the half is for the rounding of sums
        found[f"sshjob.{names(host)[-1]}"] = 1 / (max_jobs + 0.5)
    return found


def names(host: Destination) -> list[str]:
    """What a host is called in `[resources]`, the narrowest name first and the last without the account.

    A name of an INI file's key has no colon: it is `me@box_22` for me@box:22. Two accounts share the machine.
    """
    machine = f"{host.host}:{host.port}" if host.port else host.host
    named = [f"{host.username}@{machine}", f"{host.username}@{host.host}"] if host.username else []
    named += [host.host, machine]
    return list(dict.fromkeys(re.sub(r"[^\w.@-]", "_", name) for name in named))
