"""Whether tasks with the default outputs are complete: Luigi asks one after the other, the host is asked for many.

This is for the time before tasks run, when nothing changes. An answer that was not asked for is used once, and not
after `forget`.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from luigi_sshjob.jobs.model import JobPaths, job_key
from luigi_sshjob.jobs.published import are_published
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.tasks import options, pool
from luigi_sshjob.tasks.pool_requests import Member

_TOGETHER = 500  # in one question
_Group = tuple[RemoteContext, str] | tuple[Member, ...]
_Answer = bool | pool.Presence


class _Announcements:
    """Tasks that are announced, those of them that are not asked for yet, and answers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: set[Any] = set()
        self.waiting: dict[_Group, dict[Any, JobPaths | str]] = {}
        self.answers: dict[Any, _Answer] = {}


_announced = _Announcements()


def expect(tasks: Iterable[Any]) -> None:
    """Announces tasks whose completion is about to be asked for."""
    announced = _announced
    for task in tasks:
        if task in announced.all:
            continue
        try:
            group, paths = _locate(task)
        except Exception:  # noqa: BLE001, S112 - users' code; `is_complete` reports the error
            continue
        with announced.lock:
            announced.all.add(task)
            announced.waiting.setdefault(group, {})[task] = paths


def forget() -> None:
    """Drops all announcements and answers: from now on tasks run."""
    global _announced
    # answers that are under way are for the old one
    _announced = _Announcements()


# another thread may hold the lock of the parent, and a child asks for itself
os.register_at_fork(after_in_child=forget)


def is_complete(task: Any) -> bool:
    """Whether the record and the log of a success exist. Raises the errors of a request."""
    answer = _answer(task)
    return answer if isinstance(answer, bool) else answer.apply(task)


def _answer(task: Any) -> _Answer:
    announced = _announced
    group, place = _locate(task)
    with announced.lock:
        if task in announced.answers:
            return announced.answers.pop(task)
        waiting = announced.waiting.get(group, {})
        waiting.pop(task, None)
        others = list(itertools.islice(waiting, _TOGETHER - 1))
        places = [place, *(waiting.pop(other) for other in others)]
    first, *found = _ask(group, places)
    with announced.lock:
        announced.answers.update(zip(others, found, strict=True))
    return first


def _ask(group: _Group, places: Sequence[Any]) -> Sequence[_Answer]:
    if isinstance(group[0], Member):
        return pool.presences(group, places)
    published, found = are_published(group[0].connection, places[0], places[1:])
    return [published, *found]


def _locate(task: Any) -> tuple[_Group, JobPaths | str]:
    if members := pool.members_of(task):
        # also of a task that is bound to one of them: another process may have run it on another one since
        return members, job_key(task.task_id)
    paths = options.job_paths(task)
    # with one base directory an error is the same for all
    return (options.remote_context(task), posixpath.dirname(paths.task_directory)), paths
