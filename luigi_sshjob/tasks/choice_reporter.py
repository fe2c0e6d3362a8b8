"""Reports that a task waits for a host of its pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luigi_sshjob import config
from luigi_sshjob.errors import HostUnreachable, LoginNeeded
from luigi_sshjob.jobs.model import JobRef, job_key
from luigi_sshjob.tasks import hosts
from luigi_sshjob.tasks.events import JobEvent
from luigi_sshjob.tasks.status import StatusReporter


def choice_reporter(task: Any) -> Callable[[HostUnreachable], None]:
    """Returns a function that reports to the scheduler, and to handlers of events, that no host can be used."""
    settings = config.get_settings(hosts.context_on(task, hosts.first_host(task)).destination)
    shown = task if settings.send_messages == "true" else None
    reporter = StatusReporter(shown, JobRef(hosts.label(task), job_key(task.task_id), 0, ""), 0, "")
    needed_before = False

    def report(error: HostUnreachable) -> None:
        nonlocal needed_before
        reporter.report_unreachable(error)
        if isinstance(error, LoginNeeded) and not needed_before:
            task.trigger_event(JobEvent.LOGIN_NEEDED, task, error)
        needed_before = isinstance(error, LoginNeeded)

    return report
