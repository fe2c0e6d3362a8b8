"""Scheduler proxy that registers one worker under two ids, for local tasks and for remote jobs.

Luigi's scheduler hands out the next task of any kind. A worker without a free slot for that kind could only keep the
task, with the resources that it takes, from other workers, and would get nothing else meanwhile. With two ids it can
ask for each kind while it has free slots for it. An assistant gets any task under any id, so it has only one, and keeps
a task until a slot is free.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from luigi.scheduler import WORKER_STATE_ACTIVE
from luigi.task_status import DONE, PENDING, RUNNING

LOCAL, REMOTE = "local tasks", "remote jobs"

_COUNTS = ("n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled")
_POLL_INTERVAL = 1.0  # seconds; while nothing changes here, only other workers can make a task ready
_RESULTS_FIRST = 0.25  # seconds for which the results of tasks come before new work


class Capacity(Protocol):
    """What the proxy needs of the worker."""

    def kind_of(self, task_id: str) -> str | None:
        """LOCAL or REMOTE; None for a task that the worker does not know yet."""

    def kind_of_work(self, work: dict[str, Any]) -> str:
        """LOCAL or REMOTE, for a response of the scheduler."""

    def slots(self, kind: str) -> int:
        """The most tasks of this kind that may run at the same time."""

    def has_free_slot(self, kind: str) -> bool:
        """Whether another task of this kind may start."""

    def has_results(self) -> bool:
        """Whether a running task has ended and its result is not yet reported."""

    def check_signals(self) -> None:
        """Raises if the worker has to end."""


class _Registration:
    """The worker's id for tasks of one kind, and the last response to it."""

    def __init__(self, kind: str):
        self.kind = kind
        self.used = kind == LOCAL
        self.may_have_work = True
        """Whether something has happened since the last request that may have made a task ready."""
        self.requested_at = 0.0
        self.response: dict[str, Any] = {}

    def worker_id(self, worker: str) -> str:
        return worker if self.kind == LOCAL else f"{worker}, {REMOTE}"

    def is_due(self) -> bool:
        # a request costs milliseconds if there are hundreds of tasks
        return self.may_have_work or time.monotonic() - self.requested_at > _POLL_INTERVAL

    def get_work(self, scheduler: Any, worker: str, request: dict[str, Any]) -> dict[str, Any]:
        self.requested_at = time.monotonic()
        self.response = scheduler.get_work(worker=self.worker_id(worker), **request)
        self.may_have_work = _is_work(self.response)
        return self.response

    def count_pending(self, scheduler: Any, worker: str) -> None:
        self.requested_at = time.monotonic()
        self.response = scheduler.count_pending(worker=self.worker_id(worker))
        self.may_have_work = False


class SchedulerProxy:
    """Passes each call on to `scheduler` under the id for the kind of the task."""

    def __init__(self, scheduler: Any, capacity: Capacity, assistant: bool):
        self._scheduler = scheduler
        self._capacity = capacity
        self._assistant = assistant
        self._info: dict[str, Any] = {}
        self._local, self._remote = self._registrations = _Registration(LOCAL), _Registration(REMOTE)
        self._last_served = self._local
        self._kept: dict[str, Any] | None = None
        """Work for an assistant without a free slot."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def __reduce__(self) -> Any:
        # a process that is spawned, not forked, only reports on its task, under the id that it was given
        return _identity, (self._scheduler,)

    def add_worker(self, worker: str, info: Any, **more: Any) -> Any:
        """Under each id, with the number of its slots."""
        self._info.update(dict(info))
        for registration in self._used():
            values = {**self._info, "workers": self._capacity.slots(registration.kind)}
            self._scheduler.add_worker(registration.worker_id(worker), list(values.items()), **more)

    def add_task_batcher(self, worker: str, **batcher: Any) -> None:
        """Under both ids: the kind of the tasks may not be known yet."""
        for registration in self._registrations:
            self._scheduler.add_task_batcher(worker=registration.worker_id(worker), **batcher)

    def add_task(self, worker: str, task_id: str, status: str = PENDING, **task: Any) -> Any:
        """Under the id for its kind."""
        self._capacity.check_signals()
        registration = self._registration_of(task_id)
        if not registration.used:
            registration.used = True
            if self._info:
                self.add_worker(worker, {})
        if status != RUNNING:
            # pending tasks may depend on this one, or need a resource that it used
            for each in self._registrations:
                each.may_have_work |= bool(each.response.get("n_pending_tasks"))
        if status not in (DONE, RUNNING):
            registration.may_have_work = True
        return self._scheduler.add_task(worker=registration.worker_id(worker), task_id=task_id, status=status, **task)

    def ping(self, worker: str) -> dict[str, Any]:
        """Under each id. Messages to the second id are renamed."""
        response: dict[str, Any] = self._scheduler.ping(worker=worker) or {"rpc_messages": []}
        if self._remote.used:
            remote = self._scheduler.ping(worker=self._remote.worker_id(worker)) or {"rpc_messages": []}
            for message in remote["rpc_messages"]:
                if message["name"] == "set_worker_processes":
                    message = {**message, "name": "set_remote_jobs"}
                response["rpc_messages"].append(message)
        return response

    def count_pending(self, worker: str) -> dict[str, Any]:
        """The sum of both ids."""
        for registration in self._used():
            registration.count_pending(self._scheduler, worker)
        return self._no_work(worker)

    def get_work(self, worker: str, host: str, assistant: bool, current_tasks: list[str]) -> dict[str, Any]:
        """A task of a kind with a free slot; the two kinds take turns."""
        self._capacity.check_signals()
        request = {"host": host, "assistant": assistant, "current_tasks": current_tasks}
        if assistant:
            return self._get_work_as_assistant(worker, request)
        if self._has_recent_response() and self._capacity.has_results():
            return self._no_work(worker)
        for registration in sorted(self._used(), key=lambda each: each is self._last_served):
            work = self._request_work(registration, worker, request)
            if work:
                self._last_served = registration
                return self._without_own_tasks(work, worker)
        return self._no_work(worker)

    def _request_work(self, registration: _Registration, worker: str, request: dict[str, Any]) -> dict[str, Any] | None:
        if not registration.is_due():
            return None
        if not self._capacity.slots(registration.kind):
            registration.count_pending(self._scheduler, worker)
            return None
        if not self._capacity.has_free_slot(registration.kind):
            return None
        work = registration.get_work(self._scheduler, worker, request)
        return work if _is_work(work) else None

    def _get_work_as_assistant(self, worker: str, request: dict[str, Any]) -> dict[str, Any]:
        work, self._kept = self._kept, None
        if work is None:
            work = self._local.get_work(self._scheduler, worker, request)
        if _is_work(work) and not self._capacity.has_free_slot(self._capacity.kind_of_work(work)):
            self._kept = work
            return self._no_work(worker)
        return self._without_own_tasks(work, worker)

    def _used(self) -> list[_Registration]:
        return [registration for registration in self._registrations if registration.used]

    def _registration_of(self, task_id: str) -> _Registration:
        if self._assistant:
            return self._local
        kind = self._capacity.kind_of(task_id)
        if kind is None:
            # Luigi has just got it from the scheduler
            return self._last_served
        return self._remote if kind == REMOTE else self._local

    def _has_recent_response(self) -> bool:
        age = time.monotonic() - max(each.requested_at for each in self._registrations)
        return age < _RESULTS_FIRST and any(each.response for each in self._registrations)

    def _no_work(self, worker: str) -> dict[str, Any]:
        responses = [each.response for each in self._registrations if each.response]
        total: dict[str, Any] = {count: sum(response.get(count, 0) for response in responses) for count in _COUNTS}
        total["running_tasks"] = [task for response in responses for task in self._tasks_of_others(response, worker)]
        total["task_id"] = None
        for response in responses:
            if response.get("worker_state", WORKER_STATE_ACTIVE) != WORKER_STATE_ACTIVE:
                total["worker_state"] = response["worker_state"]
        return total

    def _without_own_tasks(self, work: dict[str, Any], worker: str) -> dict[str, Any]:
        return {**work, "running_tasks": self._tasks_of_others(work, worker)}

    def _tasks_of_others(self, response: dict[str, Any], worker: str) -> list[dict[str, Any]]:
        # Luigi keeps each of these lists until it ends: own tasks would make them grow with the square of their number
        own = [registration.worker_id(worker) for registration in self._registrations]
        return [task for task in response["running_tasks"] if task["worker"] not in own]


def _is_work(response: dict[str, Any]) -> bool:
    return response.get("task_id") is not None or "batch_id" in response


def _identity(scheduler: Any) -> Any:
    return scheduler
