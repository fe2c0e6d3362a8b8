"""Where a task is whose `host` is a list: its outputs, its job, and whether it is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from luigi.task import flatten

from luigi_sshjob import config
from luigi_sshjob.errors import HostUnreachable, SSHJobError
from luigi_sshjob.jobs.model import checked_base_dir, job_key
from luigi_sshjob.jobs.pool import Trace, awaited, location
from luigi_sshjob.jobs.pool_host import HostView
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks import hosts
from luigi_sshjob.tasks.placements import damage, hosts_awaited, local_records, traces_of
from luigi_sshjob.tasks.pool_requests import Member, look_at, none_responds


def host_of(task: Any) -> Any:
    """The host of the task; of a pool the one where its job or its outputs are, or else the first that responds."""
    if not isinstance(task.host, (list, tuple)):
        return task.host
    names = hosts.pool_of(task)
    return hosts.bound_host(task) or (_locate(task, names) if names else hosts.first_host(task))


def members_of(task: Any) -> tuple[Member, ...]:
    """The hosts of its pool. Raises `ConfigurationError`."""
    return tuple(_member(task, name) for name in hosts.pool_of(task))


def _member(task: Any, name: str) -> Member:
    context = hosts.context_on(task, name)
    with hosts.on_host(task, name):
        own = task.base_dir
    base_dir = config.get_settings(context.destination).base_dir if own is None else own
    return Member(name, context, checked_base_dir(base_dir))


def _locate(task: Any, names: Sequence[str]) -> str:
    key = job_key(task.task_id)
    members = members_of(task)
    views, _ = look_at(members, [key])
    host = location(names, traces_of(key, views, local_records(members)))
    host = host or next((name for name in names if name in views), names[0])
    hosts.locate(task, host, briefly=True)
    return host


class Presence(NamedTuple):
    """What all hosts of a pool know about one task."""

    host: str | None
    """Where it is; None if nothing says so."""
    published: str | None
    """Where the record of a success is."""
    reachable: Sequence[str]
    missing: SSHJobError | None
    """Why it cannot be said whether the task is complete, unless it is on a host that responds."""

    def apply(self, task: Any) -> bool:
        """Whether the record is on any host. Raises `missing`."""
        hosts.locate(task, self.published)
        if self.published is None and self.missing:
            raise self.missing
        return self.published is not None


def presences(members: Sequence[Member], keys: Sequence[str]) -> list[Presence]:
    """Looks for these tasks on all hosts."""
    records = local_records(members)
    views, errors = look_at(members, keys, awaited=lambda views: hosts_awaited(keys, views, records))
    names = [member.name for member in members]
    return [_presence(names, key, traces_of(key, views, records), views, errors) for key in keys]


def _presence(
    names: Sequence[str],
    key: str,
    traces: Mapping[str, Trace],
    views: Mapping[str, HostView],
    errors: Mapping[str, SSHJobError],
) -> Presence:
    host, needed = location(names, traces), awaited(traces)
    published = host if host and host in traces and traces[host].published else None
    missing: SSHJobError | None = damage(traces, key)
    if not views:
        missing = none_responds(errors, key)
    elif needed and needed in errors:
        missing = hosts.unreachable(needed, key, errors[needed])
    return Presence(host, published, [name for name in names if name in views], missing)


def is_complete(task: Any, check: Callable[[], bool]) -> bool:
    """Whether `check` is true on the task's host; on any host of its pool, to which the task is bound then."""
    names = hosts.pool_of(task)
    if not names:
        return check()
    with hosts.on_host(task, names[0]):
        if not any(isinstance(output, RemoteTarget) for output in flatten(task.output())):
            return check()
    (found,) = presences(members_of(task), [job_key(task.task_id)])
    unreachable = found.missing
    for name in sorted(found.reachable, key=lambda name: name != found.host):
        try:
            with hosts.on_host(task, name):
                complete = check()
        except HostUnreachable as error:
            unreachable = unreachable or (error if name == found.host else None)
            continue
        if complete:
            hosts.locate(task, name)
            return True
    hosts.locate(task, None)
    if unreachable:
        raise unreachable
    return False
