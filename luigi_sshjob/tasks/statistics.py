"""Reports to Luigi's scheduler what a job has used, through `report_task_statistics` (since Luigi 3.7)."""

from __future__ import annotations

import copy
import logging
from typing import Any

from luigi.rpc import RemoteScheduler

from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome

logger = logging.getLogger("luigi-interface")


def statistics_of(job: JobRef, outcome: Outcome) -> dict[str, int | float | str]:
    """What is known about an attempt that has ended; a value that the host does not know is missing, never 0."""
    values = {
        "cpu_seconds": outcome.cpu_seconds,
        "peak_memory_bytes": outcome.peak_memory,
        "log_bytes": outcome.log_bytes,
        "queue_seconds": outcome.queue_seconds,
        "run_seconds": outcome.run_seconds,
        "exit_code": outcome.exit_code,
        "outcome": outcome.state,
        "host": job.host,
        "job": job.id,
    }
    return {name: value for name, value in values.items() if value is not None}


def send_statistics(task: Any, statistics: dict[str, int | float | str]) -> None:
    """Send them for a task that a worker runs. Luigi 3.6 has no statistics, and a failure is not an error."""
    reporter = getattr(getattr(task, "set_status_message", None), "__self__", None)
    report = getattr(getattr(reporter, "_scheduler", None), "report_task_statistics", None)
    if report is None:
        return
    try:
        # the method of Luigi's own scheduler, also if the worker has a proxy
        _without_retries(report.__self__).report_task_statistics(task.task_id, statistics)
    except Exception as error:  # noqa: BLE001 - any failure of the scheduler or its collector; the job has ended
        logger.debug("%s: no statistics were sent to the scheduler: %s", task, error)


def _without_retries(scheduler: Any) -> Any:
    # an older luigid has no such method, and Luigi would try it three times, half a minute apart, for each job
    if isinstance(scheduler, RemoteScheduler):
        scheduler = copy.copy(scheduler)
        scheduler._rpc_retry_attempts, scheduler._rpc_log_retries = 1, False  # noqa: SLF001 - Luigi's
    return scheduler
