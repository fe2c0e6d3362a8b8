"""The URL of a page about a job, to which luigid's page links: `tracking_url` in `[sshjob]` or of a task."""

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
    """A URL with the fields {host}, {job} or {id}, {key}, {attempt}, {directory} and {task_id}; {{ and }} are braces.

    `host` is the name of the host, without an account or a port. Raises `ConfigurationError` for an invalid pattern.
    """

    def __init__(self, pattern: str, host: str, task_id: str):
        self._host = host
        self._task_id = task_id
        try:
            self._parts = _parse(pattern)
            _check_url(self._filled(dict.fromkeys(_FIELDS, "x")))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"tracking_url is not a valid URL pattern: {pattern!r}: {error}",
                host=host,
                job=task_id,
                next_step="use a URL like http://grafana/d/node?var-host={host}&job={id}, with the fields "
                + ", ".join(f"{{{field}}}" for field in _FIELDS),
            ) from None

    def of(self, job: JobRef) -> str:
        """The URL for one job of the task; values are percent-encoded (RFC 3986)."""
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


def _parse(pattern: str) -> list[tuple[str, str | None, str | None, str | None]]:
    parts = list(string.Formatter().parse(pattern))
    for _, field, form, conversion in parts:
        if field is not None and (field not in _FIELDS or form or conversion):
            raise ValueError(f"unknown field {{{_source(field, form, conversion)}}}")
    return parts


def _check_url(url: str) -> None:
    address = urllib.parse.urlsplit(url)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ValueError("it must begin with http:// or https:// and a host name")
    if not url.isprintable() or " " in url:
        raise ValueError("it contains a space or an unprintable character")


def _source(field: str, form: str | None, conversion: str | None) -> str:
    return field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")


def report_running(reporter: TaskStatusReporter, task: Any, url: str | None) -> None:
    """Reports to the scheduler that `task` is running, with the settings that Luigi's reporter leaves out.

    Luigi sends a tracking URL as an update of the task without its resources, priority and retry policy, and the
    scheduler then resets these. None keeps the tracking URL.
    """
    reporter._scheduler.add_task(  # noqa: SLF001 - Luigi's, see tests/worker/test_luigi_internals.py
        task_id=reporter._task_id,  # noqa: SLF001
        worker=reporter._worker_id,  # noqa: SLF001
        status=RUNNING,
        tracking_url=url,
        accepts_messages=bool(task.accepts_messages),
        resources=task.process_resources(),
        priority=task.priority,
        retry_policy_dict={
            "retry_count": task.retry_count,
            "disable_hard_timeout": task.disable_hard_timeout,
            "disable_window": task.disable_window,
        },
    )


def keep_task_settings(task: Any) -> None:
    """Makes the task's `set_tracking_url` call `report_running` until the end of its run."""
    reporter = getattr(getattr(task, "set_tracking_url", None), "__self__", None)
    if isinstance(reporter, TaskStatusReporter):
        task.set_tracking_url = partial(report_running, reporter, task)
