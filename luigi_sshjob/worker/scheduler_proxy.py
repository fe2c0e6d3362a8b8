"""Luigi's scheduler as a worker with two kinds of room sees it.

Luigi hands a worker whatever is next. If that is of a kind for which there is no room, the worker can but keep it from
other workers, with the resources it takes, and hear of nothing else meanwhile. So a worker has two names: under its own
it is given local tasks, under the other remote jobs, each as long as there is room for it. An assistant is given what
is next under any name; it has but one, and keeps what it has no room for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

from luigi.scheduler import WORKER_STATE_ACTIVE
from luigi.task_status import DONE, PENDING, RUNNING

LOCAL, REMOTE = "local tasks", "remote jobs"

_COUNTS = ("n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled")
_ASK_AGAIN = 1.0  # seconds; where nothing has changed here, only another worker can have changed something
_RESULTS_FIRST = 0.25  # seconds for which results that wait come before new work


class Capacity(Protocol):
    """What is asked of the worker."""

    def kind_of(self, task_id: str) -> str | None:
        """LOCAL or REMOTE; None for a task that it does not know yet."""

    def kind_of_work(self, work: dict[str, Any]) -> str:
        """The same for what the scheduler hands out."""

    def room(self, kind: str) -> int:
        """For how many at once there is room."""

    def has_room(self, kind: str) -> bool:
        """Whether one more can be begun."""

    def has_results(self) -> bool:
        """Whether the end of a running task waits to be reported."""

    def end_if_told(self) -> None:
        """Raises where the worker is to end."""


class SchedulerProxy:
    """Passes on what is asked of `scheduler`, with the name it is asked under."""

    def __init__(self, scheduler: Any, rooms: Capacity, assistant: bool):
        self._scheduler = scheduler
        self._rooms = rooms
        self._assistant = assistant
        self._info: dict[str, Any] = {}
        self._used = {LOCAL}
        self._asked = LOCAL
        self._asked_at = {LOCAL: 0.0, REMOTE: 0.0}
        self._stale = {LOCAL, REMOTE}
        self._last: dict[str, dict[str, Any]] = {}
        self._kept: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def __reduce__(self) -> Any:
        # a process that is started anew (spawn) reports on its own task alone, by the name it was given
        return _same, (self._scheduler,)

    def add_worker(self, worker: str, info: Any, **more: Any) -> Any:
        """Under each name with the room there is for its kind."""
        self._info.update(dict(info))
        for kind in self._used:
            known = {**self._info, "workers": self._rooms.room(kind)}
            self._scheduler.add_worker(self._named(worker, kind), list(known.items()), **more)

    def add_task_batcher(self, worker: str, **batcher: Any) -> None:
        """Under both: the kind of the family may not be known yet."""
        for kind in (LOCAL, REMOTE):
            self._scheduler.add_task_batcher(worker=self._named(worker, kind), **batcher)

    def add_task(self, worker: str, task_id: str, status: str = PENDING, **task: Any) -> Any:
        """Under the name for its kind."""
        self._rooms.end_if_told()
        kind = LOCAL if self._assistant else self._rooms.kind_of(task_id) or self._asked
        if kind not in self._used:
            self._used.add(kind)
            if self._info:
                self.add_worker(worker, {})
        if status != RUNNING:
            # what waits may wait for this, or for a resource that it has used
            self._stale.update(kind for kind, last in self._last.items() if last["n_pending_tasks"])
        if status not in (DONE, RUNNING):
            self._stale.add(kind)
        return self._scheduler.add_task(worker=self._named(worker, kind), task_id=task_id, status=status, **task)

    def ping(self, worker: str) -> dict[str, Any]:
        """Under each name; what was sent to the second one is marked."""
        answer: dict[str, Any] = self._scheduler.ping(worker=worker) or {"rpc_messages": []}
        if REMOTE in self._used:
            for message in (self._scheduler.ping(worker=self._named(worker, REMOTE)) or answer)["rpc_messages"]:
                if message["name"] == "set_worker_processes":
                    message = {**message, "name": "set_remote_jobs"}
                answer["rpc_messages"].append(message)
        return answer

    def count_pending(self, worker: str) -> dict[str, Any]:
        """Of both kinds together."""
        for kind in self._used:
            self._last[kind] = self._scheduler.count_pending(worker=self._named(worker, kind))
        return self._nothing(worker)

    def get_work(self, worker: str, host: str, assistant: bool, current_tasks: list[str]) -> dict[str, Any]:
        """Work for which there is room, the kind that was asked for last comes last."""
        self._rooms.end_if_told()
        now = time.monotonic()
        if self._last and self._rooms.has_results() and now - max(self._asked_at.values()) < _RESULTS_FIRST:
            return self._nothing(worker)
        asking = {"host": host, "assistant": assistant, "current_tasks": current_tasks}
        if assistant:
            return self._assist(worker, asking)
        for kind in sorted(self._used, key=lambda kind: kind == self._asked):
            if not self._may_have_work(kind, now) or (self._rooms.room(kind) and not self._rooms.has_room(kind)):
                continue
            self._asked_at[kind] = now
            if not self._rooms.room(kind):
                self._last[kind] = self._scheduler.count_pending(worker=self._named(worker, kind))
                self._stale.discard(kind)
                continue
            work = self._last[kind] = self._scheduler.get_work(worker=self._named(worker, kind), **asking)
            if _is_work(work):
                self._asked = kind
                self._stale.add(kind)
                return self._others_only(work, worker)
            self._stale.discard(kind)
        return self._nothing(worker)

    def _assist(self, worker: str, asking: dict[str, Any]) -> dict[str, Any]:
        work, self._kept = self._kept, None
        if work is None:
            work = self._last[LOCAL] = self._scheduler.get_work(worker=worker, **asking)
        if _is_work(work) and not self._rooms.has_room(self._rooms.kind_of_work(work)):
            self._kept = work
            return self._nothing(worker)
        return self._others_only(work, worker)

    def _may_have_work(self, kind: str, now: float) -> bool:
        # with hundreds of tasks a question costs milliseconds
        return kind in self._stale or now - self._asked_at[kind] > _ASK_AGAIN

    def _nothing(self, worker: str) -> dict[str, Any]:
        answers = [answer for answer in self._last.values() if answer]
        nothing: dict[str, Any] = {count: sum(answer.get(count, 0) for answer in answers) for count in _COUNTS}
        nothing["running_tasks"] = [running for answer in answers for running in self._others(answer, worker)]
        nothing["task_id"] = None
        for answer in answers:
            if answer.get("worker_state", WORKER_STATE_ACTIVE) != WORKER_STATE_ACTIVE:
                nothing["worker_state"] = answer["worker_state"]
        return nothing

    def _others_only(self, work: dict[str, Any], worker: str) -> dict[str, Any]:
        return {**work, "running_tasks": self._others(work, worker)}

    def _others(self, answer: dict[str, Any], worker: str) -> list[dict[str, Any]]:
        # Luigi keeps each of these lists to the end: with its own tasks in them they would grow with their square
        own: Iterable[str] = [self._named(worker, kind) for kind in (LOCAL, REMOTE)]
        return [running for running in answer["running_tasks"] if running["worker"] not in own]

    def _named(self, worker: str, kind: str) -> str:
        return worker if kind == LOCAL else f"{worker}, {REMOTE}"


def _is_work(answer: dict[str, Any]) -> bool:
    return answer.get("task_id") is not None or "batch_id" in answer


def _same(scheduler: Any) -> Any:
    return scheduler
