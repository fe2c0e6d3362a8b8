"""Placements of tasks: written on all hosts of a pool, and remembered by this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from luigi_sshjob.errors import ConnectionFailed, InvalidResponse, SSHJobError
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.pool import LocalRecord, Placement, Trace, awaited, latest_placement, negotiation
from luigi_sshjob.jobs.pool_host import HostView, write
from luigi_sshjob.jobs.recent import replace_text, state_directory
from luigi_sshjob.tasks import hosts
from luigi_sshjob.tasks.pool_requests import Member, ParallelRequests, problems

logger = logging.getLogger("luigi-interface")

_KEPT = 90 * 86400.0  # seconds
_SIZE = 10000  # characters

_Turn = tuple[str, Placement]

_cleaned: set[Path] = set()


class LocalRecords:
    """What this machine remembers of tasks, for the time in which their hosts do not respond.

    One file for each task, in $XDG_STATE_HOME. Errors are ignored: then less is known, as on another machine. Tasks of
    another project may have the same names, so an entry counts only with the base directory that its host has here.
    """

    def __init__(self, base_dirs: Mapping[str, str]):
        self._base_dirs = base_dirs

    def read(self, key: str) -> LocalRecord | None:
        """What is remembered of a task."""
        with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
            with _file(key).open(encoding="utf-8") as file:
                entry = json.loads(file.read(_SIZE))
            host = str(entry["host"])
            if entry["base_dir"] == self._base_dirs[host]:
                placement = Placement(int(entry["generation"]), host, int(entry["number"]))
                return LocalRecord(placement, int(entry["collected"]))
        return None

    def keep(self, placements: Mapping[str, Placement]) -> None:
        """After all hosts that respond have them."""
        for key, placement in placements.items():
            record = self.read(key)
            if record != LocalRecord(placement):
                self._write(key, LocalRecord(placement))

    def record_failure(self, key: str, host: str, attempt: int) -> None:
        """The last attempt was collected there as a failure, so the next one may be on any host."""
        record = self.read(key)
        if record and record.placement.host == host and attempt > record.placement.number:
            self._write(key, dataclasses.replace(record, collected=attempt))

    def _write(self, key: str, record: LocalRecord) -> None:
        with contextlib.suppress(OSError, RuntimeError, KeyError):
            place = dataclasses.asdict(record.placement)
            entry = {**place, "base_dir": self._base_dirs[record.placement.host], "collected": record.collected}
            replace_text(_file(key), json.dumps(entry))
            _clean(_file(key).parent)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What hosts have responded to placements."""

    placements: Mapping[str, Placement | None]
    """Those that count, by task; None if the hosts have to be looked at again."""
    refusals: Mapping[str, SSHJobError]
    """By task, of a host that cannot keep a placement which names it."""


def agree(
    members: Sequence[Member], wanted: Mapping[str, Placement], views: Mapping[str, HostView], records: LocalRecords
) -> Agreement:
    """Writes a placement for each task on all hosts that were seen; returns what they agree on, see `negotiation`."""
    placements: dict[str, Placement | None] = {}
    refused: dict[tuple[str, str], SSHJobError] = {}
    named = {member.name: member for member in members}
    talks = {
        key: negotiation(placement, {name: view.trace(key) for name, view in views.items()})
        for key, placement in wanted.items()
    }
    due = _next(talks, dict.fromkeys(talks), placements)
    while due:
        name = min(host for host, _ in due.values())
        here = {key: placement for key, (host, placement) in due.items() if host == name}
        found, errors = _write(named[name], here)
        refused |= {(name, key): error for key, error in errors.items()}
        # the others are told nevertheless
        found = {**found, **{key: here[key] for key in errors}}
        due = {key: each for key, each in due.items() if key not in here}
        due |= _next(talks, {key: found.get(key) for key in here}, placements)
    records.keep({key: each for key, each in placements.items() if each})
    chosen = {key: (each.host, key) for key, each in placements.items() if each}
    refusals = {key: refused[place] for key, place in chosen.items() if place in refused}
    return Agreement(placements, refusals)


def _next(
    talks: Mapping[str, Generator[_Turn, Placement | None, Placement | None]],
    found: Mapping[str, Placement | None],
    ended: dict[str, Placement | None],
) -> dict[str, _Turn]:
    """Goes on with what hosts have; returns what is to be written next, and adds the results of the others."""
    due = {}
    for key, placement in found.items():
        try:
            due[key] = talks[key].send(placement)
        except StopIteration as end:
            ended[key] = end.value
    return due


def hosts_awaited(keys: Sequence[str], views: Mapping[str, HostView], records: LocalRecords) -> set[str]:
    """Those without which nothing can be said about one of these tasks."""
    return {host for key in keys if (host := awaited(traces_of(key, views, records)))}


def local_records(members: Sequence[Member]) -> LocalRecords:
    """What this machine remembers of the tasks of a pool."""
    return LocalRecords({member.name: member.base_dir for member in members})


def traces_of(key: str, views: Mapping[str, HostView], records: LocalRecords) -> Mapping[str, Trace]:
    """What is known of a task, by host."""
    traces = {name: view.trace(key) for name, view in views.items()}
    record = records.read(key)
    return record.add_to(traces) if record else traces


def damage(traces: Mapping[str, Trace], job: str) -> InvalidResponse | None:
    """The error if the placement that counts is damaged on all hosts that have it."""
    latest = latest_placement(traces)
    if latest is None or latest.host:
        return None
    host = next(name for name, trace in traces.items() if trace.placement == latest)
    place = f"pools/{job}/{latest.generation}"
    return InvalidResponse(
        f"the placement of the task is damaged: {place}",
        host=host,
        job=job,
        next_step="its last attempt may be on any of its hosts; if none runs, remove that directory below base_dir",
    )


def _write(
    member: Member, placements: Mapping[str, Placement]
) -> tuple[Mapping[str, Placement], Mapping[str, SSHJobError]]:
    """Returns those that the host has, and the errors of those that it refuses; neither for the others."""
    request = ParallelRequests([member], lambda member: write(member.context.connection, member.base_dir, placements))
    written, failed = request.so_far()
    found, refused = written.get(member.name, ({}, {}))
    error = failed.get(member.name) or next(iter(refused.values()), None)
    if error:
        logger.warning("no placement was written on %s", problems({member.name: error}))
        if failed and not isinstance(error, ConnectionFailed):
            # the host itself says no; otherwise it may have been written
            refused = dict.fromkeys(placements, error)
    return found, refused


def record_failure(task: Any, base_dir: str, attempt: int) -> None:
    """Has the next attempt of a task with a pool on any of its hosts, as this one was collected as a failure."""
    if host := hosts.bound_host(task):
        LocalRecords({host: base_dir}).record_failure(job_key(task.task_id), host, attempt)


def _file(key: str) -> Path:
    return state_directory() / "placements" / key


def _clean(directory: Path) -> None:
    """Removes old files, once in a process."""
    if directory in _cleaned:
        return
    _cleaned.add(directory)
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT:
                path.unlink()
