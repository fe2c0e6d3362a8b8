"""`RemoteJobTask`: a command on a host as a Luigi task."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import luigi
from luigi.task import flatten

from luigi_sshjob import config, outputs
from luigi_sshjob.context import RemoteContext
from luigi_sshjob.control import JobControl, whoami
from luigi_sshjob.errors import ConfigurationError, JobFailed, JobLost, JobNotFound, SSHJobError
from luigi_sshjob.handle import Job
from luigi_sshjob.job import JobPaths, JobRef, Outcome, job_key
from luigi_sshjob.launchers import Launcher, launcher_named
from luigi_sshjob.monitor import Monitor, Patience
from luigi_sshjob.report import Reporter
from luigi_sshjob.request import JobRequest
from luigi_sshjob.target import RemoteTarget

logger = logging.getLogger("luigi-interface")

_VERBS = {False: "submitted as", True: "attached to"}


class RemoteJobTask(luigi.Task):
    """Runs `command()` on `host`, detached, and waits for it. Override `host` and `command`.

    Every attribute below may be a class attribute, a property or a Luigi parameter; None means the default
    of `[sshjob]`. Times are seconds. `run` raises `JobFailed` or `JobLost` for a bad end, and is safe to be
    killed at any moment: run again, it finds the job.
    """

    host: Any = None
    ssh_options: Any = {}
    """Keywords of `luigi.contrib.ssh.RemoteContext`."""
    environment: Any = {}
    """Variables for the command, str to str. Never shown, logged or passed as an argument."""
    working_directory: Any = "~"
    success_exit_codes: Any = (0,)
    time_limit: Any = None
    kill_grace: Any = None
    cleanup: Any = None
    poll_interval: Any = None
    base_dir: Any = None
    launcher: Any = None

    _submitted: JobRef | None = None

    def command(self) -> str:
        """The text of a script: for /bin/sh, or for the interpreter of its own #! line."""
        raise NotImplementedError(f"{type(self).__name__} must override command()")

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

    @property
    def remote_context(self) -> RemoteContext:
        """How the host is reached."""
        if not self.host:
            raise ConfigurationError(f"{self.task_family} has no host", next_step="set its attribute `host`")
        return RemoteContext(self.host, **dict(self.ssh_options or {}))

    @property
    def job(self) -> Job:
        """The handle of the current attempt: the one this process submitted, else the newest on the host.

        Raises `JobNotFound` where there has been none.
        """
        ref = self._submitted or self._control().latest(job_key(self.task_id))
        if ref is None:
            raise JobNotFound(
                "it has not been submitted", host=str(self.host), job=self.task_id, next_step="run the task"
            )
        return Job(ref, self.remote_context, self._control(), self._monitor(), self._seconds("kill_grace"))

    def run(self) -> None:
        """Submits the job, or attaches to it; waits; takes the outcome over."""
        request, cleanup, monitor = self._request(), self._cleanup_policy(), self._monitor()
        control = self._control()
        while True:
            submission = self._patience().with_host(lambda: control.submit(request))
            job = self._submitted = submission.job
            logger.info("%s: %s %s on %s", self, _VERBS[submission.attached], job.id, job.host)
            reporter = Reporter(self, job, config.settings().log_lines)
            outcome = monitor.wait(job, reporter.observe)
            reporter.finish()
            self._patience().with_host(lambda: control.collect(job))  # noqa: B023
            logger.info("%s on %s %s", job.id, job.host, outcome)
            # an old success whose output somebody has removed since is what they want to have again
            if not (submission.attached and outcome.succeeded and not self._outputs_exist(request)):
                break
        removed = cleanup == "always" or (cleanup == "on_success" and outcome.succeeded)
        if removed:
            self._remove(control, job)
        if not outcome.succeeded:
            raise self._failure(job, outcome, reporter.tail, "" if removed else control.command_line("logs", job))

    # -- what the attributes come to

    def _setting(self, name: str) -> Any:
        own = getattr(self, name)
        return getattr(config.settings(), name) if own is None else own

    def _seconds(self, name: str) -> float:
        value = self._setting(name)
        try:
            return value.total_seconds() if isinstance(value, timedelta) else float(value)
        except (TypeError, ValueError):
            raise self._wrong(f"{name} is {value!r}", "give seconds as a number, or a timedelta") from None

    def _wrong(self, problem: str, next_step: str) -> ConfigurationError:
        return ConfigurationError(problem, host=str(self.host), job=self.task_id, next_step=next_step)

    def _paths(self) -> JobPaths:
        return JobPaths(self._setting("base_dir"), job_key(self.task_id))

    def _launcher(self) -> Launcher:
        return launcher_named(self._setting("launcher"))

    def _control(self) -> JobControl:
        return JobControl(self.remote_context.connection, self._setting("base_dir"), self._launcher())

    def _patience(self) -> Patience:
        return Patience(config.settings().unreachable_timeout)

    def _monitor(self) -> Monitor:
        poll_interval = self._seconds("poll_interval")
        if not poll_interval > 0:
            raise self._wrong(f"poll_interval is {poll_interval}", "give a number of seconds above 0")
        return Monitor(
            self._control(),
            self._patience(),
            poll_interval=poll_interval,
            start_timeout=self._launcher().start_timeout,
        )

    def _cleanup_policy(self) -> str:
        policy = self._setting("cleanup")
        if policy not in config.CLEANUP_POLICIES:
            raise self._wrong(f"cleanup is {policy!r}", f"use one of {', '.join(config.CLEANUP_POLICIES)}")
        return str(policy)

    def _request(self) -> JobRequest:
        try:
            declared = self._declared()
            if type(self).run is RemoteJobTask.run:
                outputs.refuse_others(declared, self.remote_context)
            return JobRequest(
                key=job_key(self.task_id),
                command=self.command(),
                environment=dict(self.environment or {}),
                working_directory=str(self.working_directory or "~"),
                outputs=outputs.made_by_command(declared, self.remote_context),
                publish=self._shows_record(),
                time_limit=self._seconds("time_limit"),
                kill_grace=self._seconds("kill_grace"),
                success_exit_codes=_codes(self.success_exit_codes),
                submitted_by=whoami(),
                submitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            )
        except SSHJobError as error:
            error.host, error.job = str(self.host), self.task_id
            raise
        except (TypeError, ValueError) as error:
            raise self._wrong(f"environment or success_exit_codes: {error}", "give a dict and a tuple") from error

    def _declared(self) -> Any:
        """What `output()` says, without what the job directory shows by itself."""
        declared = self.output()
        if not self._shows_record():
            return declared
        if isinstance(declared, Mapping):
            return {key: target for key, target in declared.items() if not self._is_own(target)}
        return [target for target in flatten(declared) if not self._is_own(target)]

    def _shows_record(self) -> bool:
        return any(self._is_own(target) for target in flatten(self.output()))

    def _is_own(self, target: Any) -> bool:
        paths = self._paths()
        return getattr(target, "path", None) in (paths.published_record, paths.published_log)

    def _outputs_exist(self, request: JobRequest) -> bool:
        paths = [output.path for output in request.outputs]
        if request.publish:
            paths.append(self._paths().published_record)
        return all(self.remote_target(path).exists() for path in paths)

    def _failure(self, job: JobRef, outcome: Outcome, tail: Sequence[str], logs: str) -> JobFailed:
        last = "\n".join(f"  | {line}" for line in tail)
        whole = f"see the whole log with `{logs}`; " if logs else "cleanup has removed its log; "
        kind = JobLost if outcome.state == "lost" else JobFailed
        return kind(
            f"it {outcome}" + (f"\nThe last lines of its log:\n{last}" if last else ""),
            outcome=outcome,
            host=job.host,
            job=job.id,
            next_step=f"{whole}running the task again is a new attempt",
        )

    def _remove(self, control: JobControl, job: JobRef) -> None:
        try:
            control.remove(job)
        except SSHJobError as error:
            # the outcome stands; what is left behind is only space
            logger.warning("%s was not removed: %s", job.id, error)


def _codes(codes: Any) -> tuple[int, ...]:
    return (codes,) if isinstance(codes, int) else tuple(codes)
