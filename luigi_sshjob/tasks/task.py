"""`RemoteJobTask`: a command on a host as a Luigi task."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import luigi

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import CommandMissing, HostUnreachable, JobNotFound
from luigi_sshjob.jobs.client import client_identity
from luigi_sshjob.jobs.model import JobPaths, job_key
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks import messages, options, outputs, resources, signals, tracking
from luigi_sshjob.tasks.attributes import overridable
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.run import JobRun, cancel_attempt


class RemoteJobTask(luigi.Task):
    """Runs `command()` on `host`, detached, and waits for it. Override `host` and `command`.

    Every attribute below may be a class attribute, a property or a Luigi parameter; None means the default
    of `[sshjob]`. Times are seconds. `run` raises `JobFailed` or `JobLost` for a bad end, and is safe to be
    killed at any moment: run again, it finds the job.
    """

    if TYPE_CHECKING:

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            """Takes the task's parameters; Luigi's own has no types."""

    @overridable
    def host(self) -> str | None:
        """The host: an alias of ssh's configuration, or user@host:port."""
        return None

    @overridable
    def ssh_options(self) -> Mapping[str, Any]:
        """Keywords of `luigi.contrib.ssh.RemoteContext`, and `password`; see `RemoteContext`."""
        return {}

    @overridable
    def transport(self) -> str | None:
        """ "openssh" or "paramiko"."""
        return None

    @overridable
    def environment(self) -> Mapping[str, str]:
        """Variables for the command. Never shown, logged or passed as an argument."""
        return {}

    @overridable
    def working_directory(self) -> str:
        """Where the command starts; by default the home directory of the account."""
        return "~"

    @overridable
    def success_exit_codes(self) -> int | Iterable[int]:
        """Exit codes of a command that succeeded."""
        return (0,)

    @overridable
    def time_limit(self) -> float | timedelta | None:
        """The host ends a job that runs longer; 0 is no limit."""
        return None

    @overridable
    def kill_grace(self) -> float | timedelta | None:
        """The time between TERM and KILL when a job is ended."""
        return None

    @overridable
    def cleanup(self) -> str | None:
        """When an attempt is removed from the host: "never", "on_success" or "always"."""
        return None

    @overridable
    def on_worker_exit(self) -> str | None:
        """What happens to the job when its worker ends: "leave" or "cancel"."""
        return None

    @overridable
    def poll_interval(self) -> float | timedelta | None:
        """The longest pause between two looks at the job."""
        return None

    @overridable
    def base_dir(self) -> str | None:
        """The directory on the host that job directories are made in."""
        return None

    @overridable
    def launcher(self) -> str | None:
        """ "nohup" on the host itself, or "slurm" on the cluster that it is the login node of."""
        return None

    @overridable
    def sbatch_options(self) -> Mapping[str, Any]:
        """Long options of sbatch, like {"partition": "gpu", "mem": "8G", "exclusive": True}; only used with slurm."""
        return {}

    @overridable
    def batch(self) -> int:
        """Up to how many jobs that wait to be submitted with the same options become one job array."""
        return 1

    @overridable
    def tracking_url(self) -> str | None:
        """The address that luigid's page links to, see `TrackingUrl`; "" for none, or for one that the task sets."""
        return None

    accepts_messages = True
    """Whether luigid's page offers to send messages, see `on_scheduler_message`."""

    _job_run = cast("JobRun | None", None)
    """The last run of the task in this process; without an annotation, see attributes.py."""

    def command(self) -> str:
        """The text of a script: for /bin/sh, or for the interpreter of its own #! line."""
        raise CommandMissing(
            f"a task must override command(): {type(self).__name__} does not",
            host=str(self.host),
            job=self.task_id,
            next_step="return the text of a script from command()",
        )

    def output(self) -> Any:
        """The exit record, which exists on success only, and the log; override for outputs of your own."""
        paths = options.job_paths(self)
        return {
            "exit_record": self.remote_target(paths.published_record),
            "log": self.remote_target(paths.published_log),
        }

    @property
    def remote_context(self) -> RemoteContext:
        """How the host is reached. Raises `ConfigurationError`."""
        return options.remote_context(self)

    def remote_target(self, path: str, format: Any = None) -> RemoteTarget:
        """A target on the task's host."""
        return outputs.target_on(self.remote_context, path, format)

    def on_scheduler_message(self, message: Any) -> str:
        """What a message from luigid's page does while the job runs; returns the answer that is shown there, as text.

        Understands "status", "tail 50" and "cancel", and says so to any other; override it to understand more. An error
        that it raises is the answer, too. With `luigi_sshjob.build` it is called by a thread that is not the main one.
        """
        return messages.reply_to_message(str(message), lambda: self._find_job(brief=True))

    def on_timeout(self, message: str) -> None:
        """Cancels the job when `worker_timeout` has passed and Luigi has ended the process that watched it."""
        job = self._job_run.job if self._job_run else None
        cancel_attempt(JobOptions.of(self).host_jobs(), job_key(self.task_id), job, message)

    @property
    def job(self) -> Job:
        """The handle of the current attempt: the one this process submitted, else the newest on the host.

        Raises `JobNotFound` where there has been none.
        """
        return self._find_job()

    def _find_job(self, *, brief: bool = False) -> Job:
        jobs = JobOptions.of(self).host_jobs()
        ref = (self._job_run and self._job_run.job) or jobs.client.latest(job_key(self.task_id))
        if ref is None:
            raise JobNotFound(
                "the task has not been submitted", host=str(self.host), job=self.task_id, next_step="run the task"
            )
        return Job(ref, self.remote_context, jobs, jobs.brief_retry() if brief else jobs.retry())

    def run(self) -> None:
        """Submits the job, or attaches to it; waits; takes the outcome over."""
        tracking.take_over(self)
        run = self.prepare_run()
        with _exit_policy(run) as check_worker:

            def go_on() -> None:
                check_worker()
                run.answer_messages()

            def while_silent(error: HostUnreachable) -> None:
                run.report_unreachable(error)
                go_on()

            run.retry.on_retry = while_silent
            while True:
                job = run.submit()
                if job is None or run.finish(run.monitor.wait(job, run.observe, go_on)):
                    return

    def prepare_run(self, retry: Retry | None = None, repeat: float = 10.0) -> JobRun:
        """The steps of one run, for `run` and for a worker that has no process for it; see `JobRun`.

        Raises `ConfigurationError` for an attribute that cannot be used; nothing is sent to the host before.
        """
        with error_context("reading what it declares", host=str(self.host), job=self.task_id):
            declared = JobOptions.of(self)
            self._job_run = JobRun(self, declared, self._job_spec(declared), retry, repeat)
        return self._job_run

    def process_resources(self) -> dict[str, Any]:
        """Luigi's; with those that bound the jobs of the host, see `limits`. What `resources` says comes first."""
        try:
            return {**resources.host_resources(self.remote_context.destination), **self.resources}
        except Exception:
            # Luigi asks where an error would end its worker, with all other tasks; the run meets with the same
            return self.resources

    def _job_spec(self, declared: JobOptions) -> JobSpec:
        key = job_key(self.task_id)
        paths = JobPaths(declared.base_dir, key)
        made, shows_record = outputs.split_outputs(self.output(), {paths.published_record, paths.published_log})
        if type(self).run is RemoteJobTask.run:
            outputs.check_outputs(made, declared.context)
        return JobSpec(
            key=key,
            command=self.command(),
            environment=options.checked_environment(self.environment),
            working_directory=str(self.working_directory or "~"),
            outputs=outputs.command_outputs(made, declared.context),
            publish=shows_record,
            time_limit=declared.time_limit,
            kill_grace=declared.kill_grace,
            success_exit_codes=declared.success_exit_codes,
            submitted_by=client_identity(),
            submitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            launch=declared.launch_spec,
        )


def _exit_policy(run: JobRun) -> AbstractContextManager[Callable[[], None]]:
    if run.options.on_worker_exit == "cancel":
        return signals.cancelling(lambda: run.cancel("its worker ends"))
    return signals.nothing_is_done()


@RemoteJobTask.event_handler(luigi.Event.TIMEOUT)  # type: ignore[untyped-decorator]
def _on_timeout(task: RemoteJobTask, message: str) -> None:
    task.on_timeout(message)
