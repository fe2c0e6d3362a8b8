"""The settings that suit a host. Pure; says nothing where those in force do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from luigi_sshjob.doctor.checks.storage import LITTLE_ROOM, is_full
from luigi_sshjob.doctor.facts import DirectoryFacts, Facts
from luigi_sshjob.doctor.report import Advice, seconds

_LOGIN_MARGIN = 3  # a login may take so many times as long as the one that was seen
_ANSWER_MARGIN = 10


def advise(
    seen: Facts, *, max_sessions: int, connect_timeout: float, request_timeout: float, launcher: str
) -> Iterator[Advice]:
    """What to change. Times are seconds."""
    if seen.sessions.refused and seen.sessions.open <= max_sessions:
        allowed = seen.sessions.open
        # a fifth for others: sessions that a person opens on it, and those that are just ending
        fitting = max(1, allowed - max(1, allowed // 5))
        if fitting != max_sessions:
            yield Advice("max_sessions", str(fitting), f"the server allows {allowed} at once")
    login = seen.arrival.seconds or 0.0
    if login * _LOGIN_MARGIN > connect_timeout:
        yield Advice("connect_timeout", _rounded(login * _LOGIN_MARGIN), f"a login took {seconds(login)}")
    slowest = max(seen.slowest, seen.opening.seconds)
    if slowest * _ANSWER_MARGIN > request_timeout:
        yield Advice("request_timeout", _rounded(slowest * _ANSWER_MARGIN), f"an answer took {seconds(slowest)}")
    usable = seen.slurm is not None and seen.slurm.answers
    if usable and launcher != "slurm":
        yield Advice("launcher", "slurm", "it is a login node: jobs belong on the cluster's nodes")
    if seen.slurm is None and launcher == "slurm":
        yield Advice("launcher", "nohup", "there is no Slurm")
    yield from _elsewhere(seen, for_nodes=usable)


def needs_another_place(seen_place: DirectoryFacts, own: bool = True) -> bool:
    """Whether jobs should not live there."""
    return not own or not seen_place.writable or (seen_place.free is not None and seen_place.free < LITTLE_ROOM)


def _elsewhere(seen: Facts, *, for_nodes: bool) -> Iterator[Advice]:
    base = seen.account.base
    if not needs_another_place(base.place, base.own):
        return
    for place in seen.elsewhere:
        # the nodes of a cluster have a /var/tmp each
        if needs_another_place(place) or place.path == base.place.path or (for_nodes and place.path == "/var/tmp"):
            continue
        why = (
            "another account's" if not base.own else "full" if is_full(base) or base.place.writable else "not writable"
        )
        name = f"luigi-sshjob-{seen.account.user}" if place.path == "/var/tmp" else "luigi-sshjob"
        if place.path == seen.account.home:
            name = ".luigi-sshjob"
        yield Advice("base_dir", f"{place.path}/{name}", f"{base.path} is {why}")
        return


def _rounded(value: float) -> str:
    """Up to a whole number that looks chosen."""
    return str(math.ceil(value / 5) * 5)
