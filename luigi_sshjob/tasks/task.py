"""`RemoteJobTask`: a command on a host as a Luigi task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import luigi

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import CommandMissing, JobNotFound, LoginNeeded
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks import (
    attended,
    completion,
    error_text,
    hosts,
    messages,
    options,
    outputs,
    pool,
    prepare,
    resources,
    returned,
    typos,
)
from luigi_sshjob.tasks.attributes import TaskAttributes, has_default, overridable
from luigi_sshjob.tasks.events import JobEvent
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.parameters import known_parameters
from luigi_sshjob.tasks.run import JobRun
from luigi_sshjob.tasks.submitted import SubmittedJob, cancel_attempt


class RemoteJobTask(TaskAttributes, luigi.Task):
    """Runs `command()` on `host`, detached, and waits for it. Override `host` and `command`.

    docs/tasks.rst describes all attributes. `run` raises `JobFailed` or `JobLost` if the job does not succeed. It may
    be killed at any moment: the next run finds the job.
    """

    if TYPE_CHECKING:

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            """Takes the task's parameters. Luigi's constructor has no types."""

    _submitted = cast("SubmittedJob | None", None)
    """The last run of the task in this process; without an annotation, see attributes.py."""

    _previous = cast("PreviousAttempt | None", None)

    _bound = cast("hosts.Binding | None", None)

    _text = cast("str | None", None)

    def __repr__(self) -> str:
        """As in Luigi, which builds the same text again for each of a dozen uses."""
        if self._text is None:
            self._text = str(super().__repr__())
        return self._text

    @classmethod
    def get_params(cls) -> Any:
        """As in Luigi, which looks at all attributes of the class each time."""
        return known_parameters(cls, super().get_params)

    def clone(self, cls: Any = None, **kwargs: Any) -> Any:
        """As in Luigi, but a parameter of `cls` keeps its default if this task has none of that name, nor a value."""
        kind = cls or type(self)
        names = [name for name, _ in kind.get_params()]
        given = {name: value for name, value in kwargs.items() if name in names}
        others = [name for name in names if name not in given and hasattr(self, name) and not has_default(self, name)]
        return kind(**given, **{name: getattr(self, name) for name in others})

    @overridable
    def accepts_messages(self) -> bool:
        """Whether luigid's page offers to send messages, see `on_scheduler_message`; by default the setting."""
        return options.accepts_messages(self)

    def command(self) -> str:
        """Return the text of a script, for /bin/sh or for the interpreter of its #! line."""
        raise CommandMissing(
            f"a task must override command(): {type(self).__name__} does not",
            host=hosts.label(self),
            job=self.task_id,
            next_step="return the text of a script from command()",
        )

    @property
    def previous(self) -> PreviousAttempt | None:
        """The attempt that the one to be submitted is a retry of, see `retries`; None for a first attempt."""
        return self._previous

    def inputs(self) -> Any:
        """Targets and paths for the SSHJOB_INPUT variables of the command, by default those of `requires`.

        Override it to add or to leave out some: ``{**self.input(), "config": Path("a.yml")}``. What is not on the host
        is copied there first.
        """
        return self.input()

    def output(self) -> Any:
        """The exit record, which exists on success only, and the log. Override it for other outputs."""
        paths = options.job_paths(self)
        return {
            "exit_record": self.remote_target(paths.published_record),
            "log": self.remote_target(paths.published_log),
        }

    def complete(self) -> bool:
        """Whether all outputs exist, and are of one attempt; the host is asked once for the default ones."""
        typos.warn_of_typos(type(self), RemoteJobTask)
        if has_default_output(self):
            return completion.is_complete(self)
        outputs_exist = super().complete
        return pool.is_complete(
            self, lambda: bool(outputs_exist()) and not (self._fetches_outputs and returned.awaits_fetch(self))
        )

    @property
    def remote_context(self) -> RemoteContext:
        """How the host is reached, of a pool the one where the job or its outputs are. Raises `ConfigurationError`."""
        return options.remote_context(self)

    def remote_target(self, path: str, format: Any = None) -> RemoteTarget:  # noqa: A002 - Luigi's word
        """A target on the task's host."""
        return outputs.target_on(self.remote_context, path, format)

    def on_scheduler_message(self, message: Any) -> str:
        """Execute a message that was sent from luigid's page while the job runs, and return the response as text.

        Supports "status", "tail 50" and "cancel", and lists them in response to any other message. Override it to
        support more. An error that it raises is sent as the response. With `luigi_sshjob.build` it is not called by the
        main thread.
        """
        return messages.reply_to_message(message, lambda: self._find_job(brief=True))

    def on_failure(self, exception: BaseException) -> Any:
        """Return the text that Luigi sends to luigid and by e-mail: of an error of this package the message alone."""
        return error_text.explain(exception, narrow=True) or super().on_failure(exception)

    def on_lost(self, job: Job) -> None:
        """Override it to react to a lost attempt, as to the event `JobEvent.LOST`; a retry may follow."""

    def on_login_needed(self, error: LoginNeeded) -> None:
        """Override it to react to a host that waits for a person, as to the event `JobEvent.LOGIN_NEEDED`."""

    def cancel_after_timeout(self, message: str) -> None:
        """Cancel the job, because `worker_timeout` has passed and Luigi has ended the process that watched it."""
        job = self._submitted.ref if self._submitted else None
        cancel_attempt(JobOptions.of(self).host_jobs(), job_key(self.task_id), job, message)

    @property
    def job(self) -> Job:
        """The handle of the attempt that this process submitted, or else of the newest one on the host.

        Raises `JobNotFound` if the task has none.
        """
        return self._find_job()

    def _find_job(self, *, brief: bool = False) -> Job:
        jobs = JobOptions.of(self).host_jobs()
        submitted = self._submitted or SubmittedJob()
        ref = submitted.ref or jobs.client.find(job_key(self.task_id))
        if ref is None:
            raise JobNotFound(
                "the task has not been submitted", host=hosts.label(self), job=self.task_id, next_step="run the task"
            )
        return Job(ref, self.remote_context, jobs, jobs.brief_retry() if brief else jobs.retry(), submitted.cancel)

    def run(self) -> None:
        """Submit the job or attach to it, wait for its end and collect the outcome."""
        attended.run(self)

    def prepare_run(self, retry: Retry | None = None, repeat: float = 10.0) -> JobRun:
        """Read attributes, `command`, `inputs` and `output`; for `run`, and for workers without a process for it.

        Raises `ConfigurationError`. Nothing is sent to the host.
        """
        run = JobRun(self, self._prepare, retry, repeat)
        # not the run: it holds the environment, and cannot be pickled
        self._submitted = run.submitted
        return run

    def _prepare(self, previous: PreviousAttempt | None) -> prepare.Prepared:
        self._previous = previous
        with error_context("reading its attributes", host=hosts.label(self), job=self.task_id):
            typos.warn_of_typos(type(self), RemoteJobTask)
            declared = JobOptions.of(self)
            typos.warn_of_unused_section(declared.context.destination)
            inputs = prepare.task_inputs(self, declared, default=type(self).inputs is RemoteJobTask.inputs)
            spec = prepare.job_spec(self, declared, previous, fetched=self._fetches_outputs)
            return prepare.Prepared(declared, spec, inputs)

    @property
    def _fetches_outputs(self) -> bool:
        # a run() of its own makes local outputs itself
        return type(self).run is RemoteJobTask.run

    def process_resources(self) -> dict[str, Any]:
        """Luigi's `resources`, and those that limit the jobs of the host, see ``max_jobs`` in :doc:`configuration`."""
        try:
            if hosts.pool_of(self):
                # none was chosen when Luigi reads them
                return self.resources
            return {**resources.host_resources(self.remote_context.destination), **self.resources}
        except Exception:  # noqa: BLE001 - users' code; here an error would end Luigi's worker, but the run reports it
            return self.resources


def has_default_output(task: RemoteJobTask) -> bool:
    """Whether its class overrides neither `output` nor what that uses."""
    names = ("output", "remote_target", "remote_context")
    return all(getattr(type(task), name) is getattr(RemoteJobTask, name) for name in names)


@RemoteJobTask.event_handler(luigi.Event.SUCCESS)  # type: ignore[untyped-decorator]
def _on_success(task: RemoteJobTask) -> None:
    if type(task).run is not RemoteJobTask.run and task._submitted is None:  # noqa: SLF001
        typos.warn_of_missing_super(task)


RemoteJobTask.event_handler(JobEvent.LOST)(lambda task, job: task.on_lost(job))
RemoteJobTask.event_handler(JobEvent.LOGIN_NEEDED)(lambda task, error: task.on_login_needed(error))


@RemoteJobTask.event_handler(luigi.Event.TIMEOUT)  # type: ignore[untyped-decorator]
def _on_timeout(task: RemoteJobTask, message: str) -> None:
    task.cancel_after_timeout(message)
