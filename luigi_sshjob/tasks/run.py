"""Submits a task's job, reports on it and collects its outcome.

Nothing here waits for the job to end: `RemoteJobTask.run` does, and worker/job_runner.py for many tasks at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from luigi_sshjob import text
from luigi_sshjob.errors import ConfigurationError, HostUnreachable, LoginNeeded
from luigi_sshjob.jobs.claims import Submission
from luigi_sshjob.jobs.model import JobRef, JobStatus
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.previous import OtherPrevious, PreviousAttempt
from luigi_sshjob.jobs.recent import JobLocation, remember
from luigi_sshjob.retry import Retry
from luigi_sshjob.tasks import hosts, messages
from luigi_sshjob.tasks.collector import Collector
from luigi_sshjob.tasks.events import AttemptEvents, JobEvent
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.placements import record_failure
from luigi_sshjob.tasks.prepare import Prepared
from luigi_sshjob.tasks.retries import Again
from luigi_sshjob.tasks.statistics import send_statistics, statistics_of
from luigi_sshjob.tasks.status import StatusReporter, TaskStatus, failure
from luigi_sshjob.tasks.submitted import SubmittedJob, cancel_attempt
from luigi_sshjob.tasks.tracking import TrackingUrl

logger = logging.getLogger("luigi-interface")


class JobRun:
    """One run of a task: `submit`, `observe` until the job has ended, `finish`; starts again if that returns False.

    Both also raise `Again` if the run goes on with another attempt, and `submit` raises `Superseded` if a host has to
    be chosen again. `prepare` reads what the task declares of a retry of the given attempt, None for the first one. An
    unchanged status is sent to the scheduler again after `repeat` seconds. Raises `ConfigurationError` for an invalid
    tracking URL, and what `prepare` raises.
    """

    def __init__(
        self,
        task: TaskStatus,
        prepare: Callable[[PreviousAttempt | None], Prepared],
        retry: Retry | None = None,
        repeat: float = 10.0,
    ) -> None:
        self._task = task
        self._prepare = prepare
        self._repeat = repeat
        self._use(prepare(None), retry)
        self.submitted = SubmittedJob()
        self.in_main_thread: Callable[[Callable[[], None]], None] = lambda call: call()
        """Calls handlers of events, and the scheduler; a worker that runs many tasks at once replaces it."""
        self._attached = False
        self._ended: Outcome | None = None
        self._reporter: StatusReporter | None = None
        self._events: AttemptEvents | None = None
        self._logs = ""
        self._login_needed = False

    def _use(self, prepared: Prepared, retry: Retry | None) -> None:
        self.options, self.spec, self._inputs = prepared
        self.jobs = self.options.host_jobs()
        self.retry = retry or self.jobs.retry()
        self.monitor = self.jobs.monitor(self.retry)
        self._collector = Collector(self.options, self.spec, self.jobs, self.retry)
        pattern, host = self.options.tracking_url, self.options.context.host
        self._tracking = TrackingUrl(pattern, host, self._task.task_id) if pattern else None

    def restart(self, previous: PreviousAttempt | None) -> None:
        """Read what the task declares of a retry of `previous`, before it is submitted. Calls users' code.

        Raises `ConfigurationError` if the retry would be on another host.
        """
        if self._ended and self.submitted.cancelled:
            return
        prepared = self._prepare(previous)
        before, now = ((each.context.destination, each.base_dir) for each in (self.options, prepared.options))
        if now != before:
            raise ConfigurationError(
                f"a retry must be on the same host, in the same base_dir: {now[0]}, {now[1]}",
                host=str(before[0]),
                job=self._task.task_id,
                next_step="let host and base_dir not depend on self.previous",
            )
        self._use(prepared, self.retry)

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
        if self._ended:
            self._follow(self._ended)
        # until the response arrives the newest attempt on the host is this run's, not that of an earlier one
        self.submitted.ref = None
        remember(JobLocation.of(self.options.context.destination, self.options.base_dir))
        try:
            submission = self.retry.call(self._submit)
        except OtherPrevious as found:
            # another process has submitted it, perhaps an earlier run of the task: the declaration must be the same
            raise Again(found.previous) from None
        self._inputs.forget()
        job = self.submitted.ref = submission.job
        if submission.done:
            logger.info("%s: %s on %s has made its outputs meanwhile", self._task, job.id, job.host)
            return None
        if self.spec.previous and self.submitted.cancelled:
            self.cancel("the task was cancelled")
        which = f" (retry {self.spec.previous.label})" if self.spec.previous else ""
        verb = "attached to" if submission.attached else "submitted as"
        logger.info("%s: %s %s on %s%s", self._task, verb, job.id, job.host, which)
        self._attached = submission.attached
        self._logs = self.jobs.client.command_line("logs", job)
        self._reporter = self._reporter_of(job)
        handle = Job(job, self.options.context, self.jobs, self.jobs.retry(), self.submitted.cancel)
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

    def answer_messages(self) -> None:
        """Respond to the messages from luigid's page."""
        messages.answer_all(self._task, accepted=self.options.accepts_messages)

    def finish(self, outcome: Outcome) -> bool:
        """Collect the outcome; False for an old success whose outputs were removed since, which calls for a new run.

        Raises `JobFailed` or `JobLost` if the job did not succeed, unless a retry follows: then the outcome is
        collected after the pause, so that the next run of the task makes the retry if this process ends meanwhile.
        """
        assert self._reporter
        assert self._events
        assert self.job
        job = self.job
        self._events.end(outcome)
        self._reporter.finish()
        again = self.retry_after(job, outcome)
        if again:
            self._ended = outcome
            raise again
        missing = self._collector.collect(job, outcome)
        logger.info("%s on %s %s", job.id, job.host, outcome)
        if outcome.not_applied:
            logger.warning("%s: %s could not apply %s", job.id, job.host, " and ".join(outcome.not_applied))
        if missing and not (self._attached and self.jobs.launcher.on_host):
            raise self._collector.outputs_missing(job, missing)
        if missing or (self._attached and outcome.succeeded and self.retry.call(self._collector.made) is False):
            self._collector.mark(job)
            if self.spec.previous:
                # the next attempt is the first of a new run
                raise Again(None)
            return False
        self._conclude(job, outcome)
        return True

    def retry_after(self, job: JobRef, outcome: Outcome) -> Again | None:
        """The retry that follows this end of the job, which is announced; None if there is none."""
        again = None if self.submitted.cancelled else self.options.retries.after(job, outcome, self.spec.previous)
        if again and again.previous:
            then = f"retry {again.previous.label} in {text.format_duration(again.pause)}"
            logger.warning("%s on %s %s; %s", job.id, job.host, outcome, then)
            if self._reporter:
                self._reporter.conclude(outcome, self._logs, then)
        return again

    def _follow(self, outcome: Outcome) -> None:
        """Collects the outcome of the attempt that a retry follows. Raises `JobFailed` if none may follow any more."""
        assert self.job
        job, self._ended = self.job, None
        refusal = "" if self.submitted.cancelled else self._collector.collect_for_retry(job)
        # perhaps while the host was asked
        refusal = refusal or "it was cancelled" * self.submitted.cancelled
        if refusal:
            logger.warning("%s on %s: no retry follows, as %s", job.id, job.host, refusal)
            self._collector.mark(job)
            self._conclude(job, outcome)
        self._collector.clean_up(job, outcome)
        self._send_statistics(job, outcome)
        # what is reported from here on is about the next attempt
        self._reporter = None

    def _conclude(self, job: JobRef, outcome: Outcome) -> None:
        assert self._reporter
        logs = "" if self._collector.clean_up(job, outcome) else self._logs
        self._reporter.conclude(outcome, logs)
        self._send_statistics(job, outcome)
        if not outcome.succeeded:
            record_failure(self._task, self.options.base_dir, job.attempt)
            # Luigi sends the text of the error to luigid
            raise failure(job, outcome, self._reporter.tail if self.options.send_messages else (), logs)

    def _send_statistics(self, job: JobRef, outcome: Outcome) -> None:
        if self.options.send_messages:
            self.in_main_thread(partial(send_statistics, self._task, statistics_of(job, outcome)))

    def cancel(self, reason: str) -> None:
        """End the job, without waiting long for its host."""
        cancel_attempt(self.jobs, self.spec.key, self.job, reason)

    def _submit(self) -> Submission:
        # a new one for each try, which begins with looking for an attempt
        provide = self._inputs.provider(self.spec)
        spec = self.spec if provide else self._inputs.add_to(self.spec)
        after = hosts.claim_after(self._task)
        return self.jobs.client.submit(spec, lambda: not self._collector.made(), provide, after)

    def _trigger(self, argument: object, event: str) -> None:
        self.in_main_thread(partial(self._task.trigger_event, event, self._task, argument))

    def _reporter_of(self, job: JobRef) -> StatusReporter:
        accepted = messages.SUMMARY if self.options.accepts_messages else ""
        task = self._task if self.options.send_messages else None
        made = StatusReporter(task, job, self.options.log_lines, self._logs, self._repeat, messages=accepted)
        previous = self.spec.previous
        made.note = f"retry {previous.label}: attempt {previous.attempt} {previous.outcome}" if previous else ""
        return made
