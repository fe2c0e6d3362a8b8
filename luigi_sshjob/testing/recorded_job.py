"""What a task would have submitted, and how its job is said to end."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import luigi
from luigi.task_register import Register

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.task import RemoteJobTask

Selector = str | type[luigi.Task] | luigi.Task
"""Tasks by their family, by their class, or one task."""

Content = str | bytes


@dataclasses.dataclass(frozen=True)
class RecordedJob:
    """One attempt of a task, as it would have been submitted. Times are seconds; a `time_limit` of 0 is no limit."""

    task: RemoteJobTask
    host: str
    """As the task names it."""
    attempt: int
    command: str
    """The text of `command()`."""
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    working_directory: str
    """"$SSHJOB_PROJECT" if it starts in the copy of its project."""
    outputs: Mapping[str, str]
    """The paths of the outputs, by the variables of the command: `{"SSHJOB_OUTPUT": "greeting.txt"}`.

    Those of a `LocalTarget` are paths of this machine, the others of the host.
    """
    launcher: str
    launcher_options: Mapping[str, Any]
    """Those of this launcher, such as `sbatch_options`."""
    time_limit: float
    success_exit_codes: tuple[int, ...]
    previous: PreviousAttempt | None = None
    """What it is a retry of; None for a first attempt."""
    outcome: Outcome | None = None
    """How it ended; None for the functions that decide it."""


def recorded(task: RemoteJobTask, options: JobOptions, spec: JobSpec, attempt: int) -> RecordedJob:
    """The attempt of a task, before its end."""
    return RecordedJob(
        task=task,
        host=str(options.context.destination),
        attempt=attempt,
        command=spec.command,
        environment=MappingProxyType(dict(spec.environment)),
        working_directory=spec.working_directory or "$SSHJOB_PROJECT",
        outputs=MappingProxyType(
            {output.variable: output.path for output in spec.outputs}
            | {output.variable: output.local_path for output in spec.returned}
        ),
        launcher=options.launcher.name,
        launcher_options=MappingProxyType(dict(options.launch_options.options)),
        time_limit=spec.time_limit,
        success_exit_codes=tuple(spec.success_exit_codes),
        previous=spec.previous,
    )


@dataclasses.dataclass(frozen=True)
class End:
    """How jobs of some tasks end."""

    exit_code: int | Callable[[RecordedJob], int] | None = None
    """None for one that is a success."""
    log: Content = ""
    given: Outcome | Callable[[RecordedJob], Outcome | None] | None = None
    """In place of one that the exit code decides."""

    def outcome(self, job: RecordedJob) -> Outcome:
        """As the supervisor on a host decides it."""
        given = self.given(job) if callable(self.given) else self.given
        if given:
            return given
        code = self.exit_code(job) if callable(self.exit_code) else self.exit_code
        if code is None:
            code = min(job.success_exit_codes)
        size = len(as_bytes(self.log))
        return Outcome("succeeded" if code in job.success_exit_codes else "failed", exit_code=code, log_bytes=size)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What jobs of some tasks write to their outputs."""

    content: Content | Mapping[str, Content] | Callable[[RecordedJob], Any] = b""

    def of(self, job: RecordedJob) -> dict[str, bytes]:
        """The content of each output, by its path. Raises `ConfigurationError` for a key that is not of an output."""
        content = self.content(job) if callable(self.content) else self.content
        if not isinstance(content, Mapping):
            return {path: as_bytes(content) for path in job.outputs.values()}
        by_variable = {_variable(key): as_bytes(value) for key, value in content.items()}
        unknown = sorted(set(by_variable) - set(job.outputs))
        if unknown:
            raise ConfigurationError(
                f"the recorder has content for an output that the task does not have: {', '.join(unknown)}",
                host=job.host,
                job=job.task.task_id,
                next_step=f"use the keys of output(); its variables are {', '.join(job.outputs)}",
            )
        return {path: by_variable.get(variable, b"") for variable, path in job.outputs.items()}


def as_bytes(content: Any) -> bytes:
    """The bytes of a file or log. Raises `ConfigurationError` for another type."""
    if isinstance(content, str):
        return content.encode("utf-8", "surrogateescape")
    if isinstance(content, bytes):
        return content
    raise ConfigurationError(
        f"the recorder needs a str or bytes as content, not {content!r}",
        next_step="give it the content of the file; a dict has one for each key of output()",
    )


def record_of(job: JobRef, outcome: Outcome) -> str:
    """The exit record of an attempt."""
    return f"job: {job.id}\noutcome: {outcome.state}\nexit_code: {outcome.exit_code}\nlog_bytes: {outcome.log_bytes}\n"


def matcher(selector: Selector) -> Callable[[luigi.Task], bool]:
    """Return whether a task is selected. Raises Luigi's error for a family that does not exist."""
    if isinstance(selector, str):
        # a misspelt name must not select nothing
        if selector not in Register.task_names():
            Register.get_task_cls(selector)
        return lambda task: bool(task.task_family == selector)
    if isinstance(selector, type) and issubclass(selector, luigi.Task):
        return lambda task: isinstance(task, selector)
    if isinstance(selector, luigi.Task):
        return lambda task: bool(task == selector)
    raise ConfigurationError(
        f"the recorder cannot select tasks by {selector!r}", next_step="use a class, a family or a task"
    )


def _variable(key: object) -> str:
    # as tasks/outputs.py makes them
    return f"SSHJOB_OUTPUT_{re.sub('[^A-Z0-9]', '_', str(key).upper())}"
