"""`RemoteJobTask`: a command on a host as a Luigi task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import luigi

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import CommandMissing, HostUnreachable, JobNotFound
from luigi_sshjob.jobs.client import whoami
from luigi_sshjob.jobs.model import JobRef, job_key
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks import messages, outputs, resources, signals, tracking
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.options import Declared
from luigi_sshjob.tasks.run import JobRun

logger = logging.getLogger("luigi-interface")


class RemoteJobTask(Declared, luigi.Task):
    """Runs `command()` on `host`, detached, and waits for it. Override `host` and `command`.

    Every attribute below may be a class attribute, a property or a Luigi parameter; None means the default
    of `[sshjob]`. Times are seconds. `run` raises `JobFailed` or `JobLost` for a bad end, and is safe to be
    killed at any moment: run again, it finds the job.
    """

    host: Any = None
    ssh_options: Any = {}
    """Keywords of `luigi.contrib.ssh.RemoteContext`, and `password`; see `RemoteContext`."""
    transport: Any = None
    environment: Any = {}
    """Variables for the command, str to str. Never shown, logged or passed as an argument."""
    working_directory: Any = "~"
    success_exit_codes: Any = (0,)
    time_limit: Any = None
    kill_grace: Any = None
    cleanup: Any = None
    on_worker_exit: Any = None
    poll_interval: Any = None
    base_dir: Any = None
    launcher: Any = None
    """"nohup" on the host itself, or "slurm" on the cluster that it is the login node of."""
    sbatch_options: Any = {}
    """Long options of sbatch, {"partition": "gpu", "mem": "8G", "exclusive": True} say; of no effect but with slurm."""
    batch: Any = 1
    """How many jobs that wait to be submitted with the same options may become one job array."""
    tracking_url: Any = None
    """The address that luigid's page links to, see `TrackingUrl`; "" for none, or for one that the task sets itself."""
    accepts_messages = True
    """Whether luigid's page offers to send messages, see `on_scheduler_message`."""

    _submitted: JobRef | None = None
    _end_elsewhere: Callable[[str], None] | None = None
    """How the worker that holds the job without a process for it ends it."""

    def command(self) -> str:
        """The text of a script: for /bin/sh, or for the interpreter of its own #! line."""
        raise CommandMissing(
            f"a task must override command(): {type(self).__name__} does not",
            host=str(self.host),
            job=self.task_id,
            next_step="let its command() return the text of a script",
        )

    def output(self) -> Any:
        """The exit record, which exists on success only, and the log; override for outputs of your own."""
        paths = self._paths()
        return {
            "exit_record": self.remote_target(paths.published_record),
            "log": self.remote_target(paths.published_log),
        }

    def remote_target(self, path: str, format: Any = None) -> RemoteTarget:
        """A target on the task's host."""
        context = self.remote_context
        return RemoteTarget(path, context.host, format=format, **context.options)

    def on_scheduler_message(self, message: Any) -> str:
        """What a message from luigid's page does while the job runs; returns the answer that is shown there, as text.

        Understands "status", "tail 50" and "cancel", and says so to any other; override it to understand more. An error
        that it raises is the answer, too. With `luigi_sshjob.build` it is called by a thread that is not the main one.
        """
        return messages.answer(str(message), lambda: self._job(self._little_patience()))

    @property
    def job(self) -> Job:
        """The handle of the current attempt: the one this process submitted, else the newest on the host.

        Raises `JobNotFound` where there has been none.
        """
        return self._job(None)

    def _job(self, patience: Retry | None) -> Job:
        ref = self._submitted or self._control().latest(job_key(self.task_id))
        if ref is None:
            raise JobNotFound(
                "the task has not been submitted", host=str(self.host), job=self.task_id, next_step="run the task"
            )
        return Job(ref, self.remote_context, self._control(), self._monitor(patience), self._seconds("kill_grace"))

    def run(self) -> None:
        """Submits the job, or attaches to it; waits; takes the outcome over."""
        tracking.take_over(self)
        patience = self._patience()
        run = JobRun(self, patience)
        with self._on_worker_exit() as worker_lives:

            def go_on() -> None:
                worker_lives()
                run.answer_messages()

            def while_silent(error: HostUnreachable) -> None:
                run.report_unreachable(error)
                go_on()

            patience.on_retry = while_silent
            while True:
                job = run.begin()
                if job is None or run.settle(run.monitor.wait(job, run.observe, go_on)):
                    return

    def process_resources(self) -> dict[str, Any]:
        """Luigi's; with those that bound the jobs of the host, see `limits`. What `resources` says comes first."""
        try:
            return {**resources.resources(self.remote_context.destination), **self.resources}
        except Exception:
            # Luigi asks where an error would end its worker, with all other tasks; the run meets with the same
            return self.resources

    def _end(self, why: str) -> None:
        """Cancels the job that this task is running, if there is one, without waiting long for its host."""
        patience = self._little_patience()
        control = self._control()
        ref = self._submitted or patience.call(lambda: control.latest(job_key(self.task_id)))
        if ref and not patience.call(lambda: control.look(ref)).state.final:
            logger.info("%s on %s: cancelling, as %s", ref.id, ref.host, why)
            outcome = self._monitor(patience).cancel(ref, self._seconds("kill_grace"))
            logger.info("%s on %s %s", ref.id, ref.host, outcome)

    def _on_worker_exit(self) -> AbstractContextManager[Callable[[], None]]:
        if self._policy("on_worker_exit") == "cancel":
            return signals.cancelling(lambda: self._end("its worker ends"))
        return signals.nothing_is_done()

    def _request(self) -> JobSpec:
        with error_context("reading what it declares", host=str(self.host), job=self.task_id):
            declared, shows_record = self._declared()
            if type(self).run is RemoteJobTask.run:
                outputs.refuse_others(declared, self.remote_context)
            return JobSpec(
                key=job_key(self.task_id),
                command=self.command(),
                environment=self._environment(),
                working_directory=str(self.working_directory or "~"),
                outputs=outputs.made_by_command(declared, self.remote_context),
                publish=shows_record,
                time_limit=self._seconds("time_limit"),
                kill_grace=self._seconds("kill_grace"),
                success_exit_codes=self._codes(),
                submitted_by=whoami(),
                submitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                launch=self._launcher().launch(self._wishes()),
            )

    def _declared(self) -> tuple[Any, bool]:
        """What `output()` says without what the job directory shows by itself, and whether it says that too."""
        paths = self._paths()
        return outputs.others(self.output(), {paths.published_record, paths.published_log})


@RemoteJobTask.event_handler(luigi.Event.TIMEOUT)  # type: ignore[untyped-decorator]
def _cancel_after_timeout(task: Any, message: str) -> None:
    """`worker_timeout` is over: Luigi has ended the process that watched, and tells it to its worker."""
    (task._end_elsewhere or task._end)(message)
