"""Messages of a running task to the scheduler, sent by the main thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import luigi
import luigi.worker

from luigi_sshjob.tasks.tracking import report_running
from luigi_sshjob.worker.main_thread import MainThreadQueue


class QueuedStatusReporter(luigi.worker.TaskStatusReporter):
    """Sends the messages of a task from the main thread. A message that has to wait is replaced by a later one."""

    def __init__(self, main_thread: MainThreadQueue, task: luigi.Task, *args: Any):
        super().__init__(*args)
        self._main_thread = main_thread
        self._task = task

    def update_tracking_url(self, tracking_url: str | None) -> None:
        """Sends the task's settings, too, see `report_running`."""
        self._queue("tracking URL", partial(report_running, self, self._task, tracking_url))

    def update_status_message(self, message: str) -> None:
        """Sends the status."""
        self._queue("status", partial(super().update_status_message, message))

    def update_progress_percentage(self, percentage: int) -> None:
        """Sends the progress."""
        self._queue("progress", partial(super().update_progress_percentage, percentage))

    def _queue(self, kind: str, send: Callable[[], None]) -> None:
        self._main_thread.call_latest(self._task.task_id, kind, send)
