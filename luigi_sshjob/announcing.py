"""Telling the scheduler of a running task where it can be tracked, and nothing else by the way.

What Luigi's own `set_tracking_url` leaves out of its report the scheduler takes for a no: the button for messages goes
from luigid's page, and the task's own retry policy and resources are forgotten. Its report of a failure, too, takes the
button away from the next run of the task.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from luigi.task_status import RUNNING
from luigi.worker import TaskStatusReporter


def announce(reporter: TaskStatusReporter, task: Any, url: str | None) -> None:
    """`task` is running and can be tracked there; None leaves that as it is."""
    reporter._scheduler.add_task(
        task_id=reporter._task_id,
        worker=reporter._worker_id,
        status=RUNNING,
        tracking_url=url,
        accepts_messages=reporter.scheduler_messages is not None,
        resources=task.process_resources(),
        priority=task.priority,
        retry_policy_dict={
            "retry_count": task.retry_count,
            "disable_hard_timeout": task.disable_hard_timeout,
            "disable_window": task.disable_window,
        },
    )


def take_over(task: Any) -> None:
    """From now on, until its run ends, the task's `set_tracking_url` is `announce`."""
    reporter = getattr(getattr(task, "set_tracking_url", None), "__self__", None)
    if isinstance(reporter, TaskStatusReporter):
        task.set_tracking_url = partial(announce, reporter, task)
