"""The address of a page about a job, which luigid's page links to: `tracking_url` of [sshjob] or of a task."""

from __future__ import annotations

import string
import urllib.parse
from functools import partial
from typing import Any

from luigi.task_status import RUNNING
from luigi.worker import TaskStatusReporter

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.remote import quoting

_FIELDS = ("host", "job", "id", "key", "attempt", "directory", "task_id")


class TrackingUrl:
    """A pattern with {host}, {job} or {id}, {key}, {attempt}, {directory} and {task_id}; `{{` and `}}` are braces.

    `host` is its name alone, without an account or a port. Raises `ConfigurationError` for a pattern that cannot become
    a web address.
    """

    def __init__(self, pattern: str, host: str, task_id: str):
        self._host = host
        self._task_id = task_id
        try:
            self._parts = list(string.Formatter().parse(pattern))
            for _, field, form, conversion in self._parts:
                if field is not None and (field not in _FIELDS or form or conversion):
                    raise ValueError(f"what stands in its braces is {_between(field, form, conversion)!r}")
            address = urllib.parse.urlsplit(self._filled(dict.fromkeys(_FIELDS, "x")))
            if address.scheme not in ("http", "https") or not address.netloc:
                raise ValueError("it does not begin with http:// or https:// and the name of a host")
            if not pattern.isprintable() or " " in pattern:
                raise ValueError("it has a space or another character in it that a web address cannot have")
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"tracking_url cannot become a web address: {pattern!r}: {error}",
                host=host,
                job=task_id,
                next_step="write an address like http://grafana/d/node?var-host={host}&job={id}, with "
                + ", ".join(f"{{{field}}}" for field in _FIELDS),
            ) from None

    def of(self, job: JobRef) -> str:
        """For this job of the task; every value is quoted as RFC 3986 wants it."""
        values = {
            "host": self._host,
            "job": job.id,
            "id": job.id,
            "key": job.key,
            "attempt": str(job.attempt),
            "directory": job.directory,
            "task_id": self._task_id,
        }
        return self._filled(
            {name: urllib.parse.quote(quoting.encode(value), safe="") for name, value in values.items()}
        )

    def _filled(self, values: dict[str, str]) -> str:
        return "".join(text + (values[field] if field is not None else "") for text, field, _, _ in self._parts)


def _between(field: str, form: str | None, conversion: str | None) -> str:
    return field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")


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
