"""Submits a task's job, reports on it and collects its outcome.

Nothing here waits for the job to end: `RemoteJobTask.run` does, and worker/job_runner.py for many tasks at once.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from luigi_sshjob import text
from luigi_sshjob.errors import HostUnreachable, LoginNeeded, SSHJobError
from luigi_sshjob.jobs.client import Submission
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, JobStatus
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.recent import JobLocation, remember
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.retry import Retry
from luigi_sshjob.tasks import messages
from luigi_sshjob.tasks.collector import Collector
from luigi_sshjob.tasks.events import AttemptEvents, JobEvent
from luigi_sshjob.tasks.inputs import TaskInputs
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.statistics import send_statistics, statistics_of
from luigi_sshjob.tasks.status import StatusReporter, TaskStatus, failure
from luigi_sshjob.tasks.tracking import TrackingUrl

logger = logging.getLogger("luigi-interface")

_VERBS = {False: "submitted as", True: "attached to"}


@dataclasses.dataclass
class SubmittedJob:
    """The attempt of a run; `ref` is None before the host has responded to its submission."""

    ref: JobRef | None = None


class JobRun:
    """One run of a task: `submit`, `observe` until the job has ended, `finish`; starts again if that returns False.

    An unchanged status is sent to the scheduler again after `repeat` seconds. Raises `ConfigurationError` for an
    invalid tracking URL.
    """

    def __init__(
        self,
        task: TaskStatus,
        options: JobOptions,
        spec: JobSpec,
        inputs: TaskInputs,
        retry: Retry | None = None,
        repeat: float = 10.0,
    ) -> None:
        self.options = options
        self.spec = spec
        self._inputs = inputs
        self.jobs = options.host_jobs()
        self.retry = retry or self.jobs.retry()
        self.monitor = self.jobs.monitor(self.retry)
        self._collector = Collector(options, spec, self.jobs, self.retry)
        self.submitted = SubmittedJob()
        self.in_main_thread: Callable[[Callable[[], None]], None] = lambda call: call()
        """Calls handlers of events, and the scheduler; a worker that runs many tasks at once replaces it."""
        self._task = task
        self._repeat = repeat
        pattern = options.tracking_url
        self._tracking = TrackingUrl(pattern, options.context.host, task.task_id) if pattern else None
        self._attached = False
        self._reporter: StatusReporter | None = None
        self._events: AttemptEvents | None = None
        self._logs = ""
        self._login_needed = False

    @property
    def job(self) -> JobRef | None:
        """The attempt; None before the host has responded to its submission."""
        return self.submitted.ref

    @property
    def may_send(self) -> bool:
        """Whether `submit` may have to send inputs or a project first."""
        return self._inputs.may_send

    def submit(self) -> JobRef | None:
        """Submit the job, or attach to it; None if another run of the task has made the outputs meanwhile."""
        # until the response arrives the newest attempt on the host is this run's, not that of an earlier one
        self.submitted.ref = None
        remember(JobLocation.of(self.options.context.destination, self.options.base_dir))
        submission = self.retry.call(self._submit)
        self._inputs.forget()
        job = self.submitted.ref = submission.job
        if submission.done:
            logger.info("%s: %s on %s has made its outputs meanwhile", self._task, job.id, job.host)
            return None
        logger.info("%s: %s %s on %s", self._task, _VERBS[submission.attached], job.id, job.host)
        self._attached = submission.attached
        self._logs = self.jobs.client.command_line("logs", job)
        self._reporter = self._reporter_of(job)
        handle = Job(job, self.options.context, self.jobs, self.jobs.retry())
        self._events = AttemptEvents(partial(self._trigger, handle), attached=submission.attached)
        url = self._tracking.of(job) if self._tracking else None
        # an earlier run of the task may have left another URL on the page, see tracking.py
        if url or submission.attached or job.attempt > 1:
            self._reporter.track(url)
        return job

    def observe(self, status: JobStatus) -> None:
        """Report a new status of the job."""
        assert self._reporter
        assert self._events
        self._login_needed = False
        self._events.observe(status)
        self._reporter.observe(status)

    def report_unreachable(self, error: HostUnreachable) -> None:
        """Report that the host does not respond, even before the job has been submitted."""
        if self._reporter is None:
            self._reporter = self._reporter_of(JobRef(self.jobs.host, self.spec.key, 0, ""))
        self._reporter.report_unreachable(error)
        if isinstance(error, LoginNeeded) and not self._login_needed:
            self._login_needed = True
            self._trigger(error, JobEvent.LOGIN_NEEDED)

    def has_messages(self) -> bool:
        """Whether messages from luigid's page wait for a response."""
        waiting = self._messages()
        return waiting is not None and not waiting.empty()

    def answer_messages(self) -> None:
        """Respond to the messages from luigid's page."""
        while self.has_messages():
            message = self._messages().get()
            logger.info("%s: received the scheduler message %r", self._task, str(message))
            try:
                accepted = self.options.accepts_messages
                response = str(self._task.on_scheduler_message(message)) if accepted else messages.REFUSAL
            except Exception as error:  # noqa: BLE001 - users' code; the error is the response
                logger.warning("%s: the message %r: %s", self._task, str(message), error)
                response = str(error) if isinstance(error, SSHJobError) else f"{type(error).__name__}: {error}"
            try:
                message.respond(text.escape_response(response))
            except Exception as error:  # noqa: BLE001 - any failure of the scheduler; the job must not lose its watcher
                logger.warning("%s: no response to the message %r was sent: %s", self._task, str(message), error)

    def finish(self, outcome: Outcome) -> bool:
        """Collect the outcome; False for an old success whose outputs were removed since, which calls for a new run.

        Raises `JobFailed` or `JobLost` if the job did not succeed.
        """
        assert self._reporter
        assert self._events
        assert self.job
        job = self.job
        self._events.end(outcome)
        self._reporter.finish()
        missing = self._collector.collect(job, outcome)
        logger.info("%s on %s %s", job.id, job.host, outcome)
        if missing and not (self._attached and self.jobs.launcher.on_host):
            raise self._collector.outputs_missing(job, missing)
        if missing or (self._attached and outcome.succeeded and self.retry.call(self._collector.made) is False):
            self._collector.mark(job)
            return False
        logs = "" if self._collector.clean_up(job, outcome) else self._logs
        self._reporter.conclude(outcome, logs)
        if self.options.send_messages:
            self.in_main_thread(partial(send_statistics, self._task, statistics_of(job, outcome)))
        if not outcome.succeeded:
            # Luigi sends the text of the error to luigid
            raise failure(job, outcome, self._reporter.tail if self.options.send_messages else (), logs)
        return True

    def cancel(self, reason: str) -> None:
        """End the job, without waiting long for its host."""
        cancel_attempt(self.jobs, self.spec.key, self.job, reason)

    def _submit(self) -> Submission:
        # a new one for each try, which begins with looking for an attempt
        provide = self._inputs.provider(self.spec)
        spec = self.spec if provide else self._inputs.add_to(self.spec)
        return self.jobs.client.submit(spec, lambda: not self._collector.made(), provide)

    def _trigger(self, argument: object, event: str) -> None:
        self.in_main_thread(partial(self._task.trigger_event, event, self._task, argument))

    def _messages(self) -> Any:
        return getattr(self._task, "scheduler_messages", None)

    def _reporter_of(self, job: JobRef) -> StatusReporter:
        accepted = messages.SUMMARY if self.options.accepts_messages else ""
        task = self._task if self.options.send_messages else None
        return StatusReporter(task, job, self.options.log_lines, self._logs, self._repeat, messages=accepted)


def cancel_attempt(jobs: HostJobs, key: str, job: JobRef | None, reason: str) -> None:
    """End an attempt, by default the newest one, without waiting long for its host."""
    retry = jobs.brief_retry()
    job = job or retry.call(lambda: jobs.client.find(key))
    if job and not retry.call(lambda: jobs.client.status(job)).state.final:
        logger.info("%s on %s: cancelling, as %s", job.id, job.host, reason)
        logger.info("%s on %s %s", job.id, job.host, jobs.cancel(job, retry))
