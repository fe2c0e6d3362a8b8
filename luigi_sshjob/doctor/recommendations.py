"""Recommends settings that suit a host. Pure; recommends nothing where the current settings do."""

from __future__ import annotations

import math
from collections.abc import Iterator

from luigi_sshjob.doctor.checks.storage import MIN_FREE, is_full
from luigi_sshjob.doctor.facts import DirectoryFacts, Facts
from luigi_sshjob.doctor.report import Recommendation
from luigi_sshjob.text import format_seconds

_LOGIN_MARGIN = 3  # a later login may take this many times as long as the measured one
_REQUEST_MARGIN = 10
_VAR_TMP = "/var/tmp"  # noqa: S108  # a directory on the host; the name below it contains the account


def recommend_settings(
    facts: Facts, *, max_sessions: int, connect_timeout: float, request_timeout: float, launcher: str
) -> Iterator[Recommendation]:
    """Yield settings to change, given the current ones. Times are in seconds."""
    if facts.sessions.refused and facts.sessions.open <= max_sessions:
        allowed = facts.sessions.open
        # leaves a fifth for sessions that the user opens, and for those that are just ending
        suitable = max(1, allowed - max(1, allowed // 5))
        if suitable != max_sessions:
            yield Recommendation("max_sessions", str(suitable), f"the server allows {allowed} sessions")
    login = facts.login.seconds if facts.login and facts.login.seconds else 0.0
    if login * _LOGIN_MARGIN > connect_timeout:
        yield Recommendation(
            "connect_timeout", _round_up(login * _LOGIN_MARGIN), f"a login took {format_seconds(login)}"
        )
    slowest = max(facts.slowest, facts.opening.seconds)
    if slowest * _REQUEST_MARGIN > request_timeout:
        yield Recommendation(
            "request_timeout", _round_up(slowest * _REQUEST_MARGIN), f"a request took {format_seconds(slowest)}"
        )
    has_slurm = facts.slurm is not None and facts.slurm.responds
    if has_slurm and launcher != "slurm":
        yield Recommendation("launcher", "slurm", "the host is a login node: jobs belong on the compute nodes")
    if facts.slurm is None and launcher == "slurm":
        yield Recommendation("launcher", "nohup", "the host has no Slurm")
    yield from _base_dir(facts, for_nodes=has_slurm)


def is_unsuitable(directory: DirectoryFacts, own: bool = True) -> bool:
    """Whether a directory should not hold jobs: it belongs to another account, is read-only or almost full."""
    return not own or not directory.writable or (directory.free is not None and directory.free < MIN_FREE)


def _base_dir(facts: Facts, *, for_nodes: bool) -> Iterator[Recommendation]:
    base = facts.account.base
    if not is_unsuitable(base.location, base.own):
        return
    for directory in facts.alternatives:
        # each node of a cluster has its own /var/tmp
        unshared = for_nodes and directory.path == _VAR_TMP
        if unshared or is_unsuitable(directory) or directory.path == base.location.path:
            continue
        problem = "full" if is_full(base) or base.location.writable else "not writable"
        name = f"luigi-sshjob-{facts.account.user}" if directory.path == _VAR_TMP else "luigi-sshjob"
        if directory.path == facts.account.home:
            name = ".luigi-sshjob"
        reason = f"{base.path} {f'is {problem}' if base.own else 'belongs to another account'}"
        yield Recommendation("base_dir", f"{directory.path}/{name}", reason)
        return


def _round_up(value: float) -> str:
    return str(math.ceil(value / 5) * 5)
