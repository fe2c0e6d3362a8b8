"""Luigi's scheduler in the process of its worker, with less work for each task that it hands out."""

from __future__ import annotations

import time
from collections.abc import KeysView
from typing import Any

import luigi.scheduler
from luigi.task_status import DISABLED, FAILED, PENDING, RUNNING

_PRUNE_INTERVAL = 1.0  # seconds
# at least one of each, so that the worker asks again before it ends
_NOT_COUNTED = {"n_pending_tasks": 1, "n_unique_pending": 1, "n_pending_last_scheduled": 1, "running_tasks": []}


class LocalScheduler(luigi.scheduler.Scheduler):
    """For the tasks of one process.

    Luigi's `get_work` looks at all tasks five times: to remove old ones, for a lost response, for resources, for the
    next one, and to count those that are left. With 1,000 concurrent tasks that takes some milliseconds for each. The
    first is done once a second here unless tasks have failed, and the last only if there is no work, because only then
    a worker reads the counts. The others get the one task that Luigi would choose, unless it needs resources or there
    are batches.
    """

    def __init__(self) -> None:
        # as luigi.build makes it
        super().__init__(prune_on_get_work=True, record_task_history=False)
        self._state: _State = _State(self._state)
        self._pruned_at = -_PRUNE_INTERVAL
        self._handing_out = False
        self._queue: list[Any] = []

    def prune(self) -> None:
        """Removes old tasks and workers, at most once a second unless tasks have failed, which may run again."""
        if self._handing_out:
            return
        now = time.monotonic()
        failed = any(map(self._state.get_active_task_count_for_status, (FAILED, DISABLED)))
        if failed or now - self._pruned_at >= _PRUNE_INTERVAL:
            self._pruned_at = now
            super().prune()

    def get_work(self, *args: Any, **options: Any) -> Any:
        """The next task; if there is none, the number of those that wait."""
        # before the choice, and not again
        self.prune()
        current = options.get("current_tasks")
        if not self._state.has_batches and not options.get("assistant"):
            self._state.choice = self._best_tasks(options["worker"])
            # otherwise it may have handed out one whose response was lost
            if current is not None and set(current) == self._state.running:
                options["current_tasks"] = None
        self._handing_out = True
        try:
            work = super().get_work(*args, **options)
        finally:
            self._handing_out = False
            self._state.choice = None
        if work["task_id"] is None and "batch_id" not in work and "n_pending_last_scheduled" in work:
            work.update(self.count_pending(options["worker"]))
        return work

    def count_pending(self, worker: str) -> Any:
        """The numbers of tasks that wait, and those that run."""
        if self._handing_out:
            return {**_NOT_COUNTED, "worker_state": self._state.get_worker(worker).state}
        return super().count_pending(worker)

    def _update_priority(self, task: Any, prio: Any, worker: str) -> None:
        before = task.priority
        super()._update_priority(task, prio, worker)
        self._state.reordered |= task.priority != before

    def _best_tasks(self, worker: str) -> list[Any]:
        """The first task of Luigi's order that this worker may run now, if any."""
        state = self._state
        if state.reordered:
            state.reordered = False
            # the best one last
            self._queue = sorted(state.get_active_tasks_by_status(PENDING), key=self._rank, reverse=True)[::-1]
        waiting = []
        while self._queue:
            task = self._queue[-1]
            if worker in task.workers and self._schedulable(task):
                break
            self._queue.pop()
            # one that runs or has ended comes back if it is to run again
            if task.status == PENDING:
                waiting.append(task)
        best = self._queue[-1:]
        self._queue += reversed(waiting)
        return best


class _State(luigi.scheduler.SimpleTaskState):
    """Luigi's state, which notices what changes the order of its tasks."""

    def __init__(self, luigis: luigi.scheduler.SimpleTaskState):
        vars(self).update(vars(luigis))
        self.reordered, self.has_batches = True, False
        self.choice: list[Any] | None = None
        """The tasks from which Luigi chooses the next unless one of them needs resources; None for all."""

    @property
    def running(self) -> KeysView[str]:
        """The ids of the tasks that run."""
        return self._status_tasks[RUNNING].keys()

    def set_status(self, task: Any, new_status: str, config: Any = None) -> None:
        super().set_status(task, new_status, config)
        self.reordered |= new_status == PENDING

    def set_batcher(self, *args: Any, **options: Any) -> None:
        self.has_batches = True
        super().set_batcher(*args, **options)

    def get_worker(self, worker_id: str) -> Any:
        return self._active_workers.get(worker_id) or self._active_workers.setdefault(worker_id, _Worker(worker_id))


class _Worker(luigi.scheduler.Worker):
    def get_tasks(self, state: Any, *statuses: str) -> Any:
        return super().get_tasks(state, *statuses) if state.choice is None else state.choice
