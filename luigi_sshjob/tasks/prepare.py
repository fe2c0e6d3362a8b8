"""What a task declares, as the spec and the inputs of its job."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from luigi_sshjob.jobs.client import client_identity
from luigi_sshjob.jobs.model import JobPaths, job_key
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.tasks import options, outputs
from luigi_sshjob.tasks.inputs import TaskInputs
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.trace_context import trace_context


class Prepared(NamedTuple):
    """All that a task declares of one attempt."""

    options: JobOptions
    spec: JobSpec
    inputs: TaskInputs


def job_spec(task: Any, declared: JobOptions, previous: PreviousAttempt | None, *, fetched: bool) -> JobSpec:
    """The spec without inputs; with local outputs only if they are to be `fetched`. Raises `ConfigurationError`."""
    key = job_key(task.task_id)
    paths = JobPaths(declared.base_dir, key)
    made, shows_record = outputs.split_outputs(task.output(), paths.published)
    if fetched:
        outputs.check_outputs(made, declared.context)
    command = task.command()
    environment = options.checked_environment(task.environment)
    return JobSpec(
        key=key,
        command=command,
        environment=environment,
        trace_context=trace_context(environment),
        setup=declared.setup,
        slots=declared.slots,
        working_directory=options.working_directory(task),
        outputs=outputs.command_outputs(made, declared.context),
        returned=outputs.returned_outputs(made) if fetched else (),
        publish=shows_record,
        time_limit=declared.time_limit,
        kill_grace=declared.kill_grace,
        limits=declared.limits,
        gentle=declared.gentle,
        success_exit_codes=declared.success_exit_codes,
        submitted_by=client_identity(),
        submitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        family=task.task_family,
        # the others may be secrets
        parameters=task.to_str_params(only_significant=True, only_public=True),
        launch=declared.launch_spec(command),
        previous=previous,
    )


def task_inputs(task: Any, declared: JobOptions, *, default: bool) -> TaskInputs:
    """The inputs; `default` if the task does not override `inputs`. Raises `ConfigurationError`."""
    # it may also be a parameter of the task
    default = default or not callable(task.inputs)
    inputs = task.input() if default else task.inputs()
    return TaskInputs(inputs, declared.context, declared.base_dir, task.project, default=default)
