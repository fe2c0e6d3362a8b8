"""One run of a task: the steps before and after its job, none of which waits for the job to end.

`RemoteJobTask.run` does them in a process of its own, with a wait in between; worker.py does those of many tasks.
"""

from __future__ import annotations

import logging
from typing import Any

from luigi_sshjob import text
from luigi_sshjob.errors import HostUnreachable, RemoteCommandFailed, SSHJobError
from luigi_sshjob.jobs import recent
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome
from luigi_sshjob.jobs.recent import JobLocation
from luigi_sshjob.retry import Retry
from luigi_sshjob.tasks.status import StatusReporter, failure
from luigi_sshjob.tasks.tracking import TrackingUrl

logger = logging.getLogger("luigi-interface")

_VERBS = {False: "submitted as", True: "attached to"}


class JobRun:
    """What a task declares, read once, and what becomes of it. `begin`, then `observe` until the job has ended, then
    `settle`; where that says no, all over again.

    `repeat` is the time in seconds after which the scheduler is told that nothing has changed. Raises
    `ConfigurationError` for a declaration that cannot be used; nothing is asked of the host then.
    """

    def __init__(self, task: Any, patience: Retry, repeat: float = 10.0) -> None:
        self.task = task
        self.request = task._request()
        self._cleanup = task._policy("cleanup")
        pattern = task._setting("tracking_url")
        self._tracking = TrackingUrl(pattern, task.remote_context.host, task.task_id) if pattern else None
        self.monitor = task._monitor(patience)
        self.control = task._control()
        self._patience = patience
        self._repeat = repeat
        self.job: JobRef | None = None
        """The attempt, once `begin` has found or made it."""
        self._attached = False
        self._reporter: StatusReporter | None = None
        self._logs = ""

    def begin(self) -> JobRef | None:
        """Submits the job, or attaches to it; None where what it makes was made by another meanwhile."""
        # while the answer is on its way the newest attempt on the host is this task's, not that of an earlier run
        self.task._submitted = None
        recent.note(JobLocation.of(self.task.remote_context.destination, self.task._setting("base_dir")))
        submission = self._patience.call(lambda: self.control.submit(self.request, lambda: not self._made()))
        job: JobRef = submission.job
        self.job = job
        self.task._submitted = job
        if submission.done:
            logger.info("%s: %s on %s has made it meanwhile", self.task, job.id, job.host)
            return None
        logger.info("%s: %s %s on %s", self.task, _VERBS[submission.attached], job.id, job.host)
        self._attached = submission.attached
        self._logs = self.control.command_line("logs", job)
        self._reporter = self._reporter_of(job)
        url = self._tracking.of(job) if self._tracking else None
        # an earlier run of the task may have taken what the page offers, see announcing.py
        if url or submission.attached or job.attempt > 1:
            self._reporter.track(url)
        return job

    def observe(self, observation: JobStatus) -> None:
        """Says what is new of the job."""
        assert self._reporter
        self._reporter.observe(observation)

    def report_unreachable(self, error: HostUnreachable) -> None:
        """Says that the host does not answer for now, also before the job is there."""
        if self._reporter is None:
            self._reporter = self._reporter_of(JobRef(str(self.task.host), self.request.key, 0, ""))
        self._reporter.report_unreachable(error)

    def has_messages(self) -> bool:
        """Whether luigid has sent any that were not answered."""
        messages = getattr(self.task, "scheduler_messages", None)
        return messages is not None and not messages.empty()

    def answer_messages(self) -> None:
        """Has the task answer what luigid has sent."""
        while self.has_messages():
            message = self.task.scheduler_messages.get()
            try:
                said = str(self.task.on_scheduler_message(message))
            except Exception as error:  # whoever has asked waits for an answer, whatever it is
                logger.warning("%s: the message %r: %s", self.task, str(message), error)
                said = str(error) if isinstance(error, SSHJobError) else f"{type(error).__name__}: {error}"
            try:
                message.respond(text.answer(said))
            except Exception as error:  # a scheduler that is away for a moment must not cost the job its watcher
                logger.warning("%s: the message %r was not answered: %s", self.task, str(message), error)

    def settle(self, outcome: Outcome) -> bool:
        """Takes the outcome over. False where it was an old success whose output somebody has removed since: a new run
        is what they want to have. Raises `JobFailed` or `JobLost` for a bad end."""
        assert self._reporter
        assert self.job
        job = self.job
        self._reporter.finish()
        self._collect(job)
        logger.info("%s on %s %s", job.id, job.host, outcome)
        if self._attached and outcome.succeeded and self._patience.call(self._made) is False:
            return False
        # what a lost job left is all there is to find out why
        removed = outcome.succeeded if self._cleanup == "on_success" else self._cleanup == "always"
        removed = removed and outcome.state != "lost"
        if removed:
            self._remove(job)
        logs = "" if removed else self._logs
        self._reporter.conclude(outcome, logs)
        if not outcome.succeeded:
            raise failure(job, outcome, self._reporter.tail, logs)
        return True

    def _reporter_of(self, job: JobRef) -> StatusReporter:
        return StatusReporter(self.task, job, self.task._settings.log_lines, self._logs, self._repeat)

    def _made(self) -> bool | None:
        """Whether all that the job makes is there; None for a job that makes nothing that could be looked for."""
        paths = [output.path for output in self.request.outputs]
        if self.request.publish:
            paths.append(self.task._paths().published_record)
        return all(self.task.remote_target(path).exists() for path in paths) if paths else None

    def _collect(self, job: JobRef) -> None:
        try:
            self._patience.call(lambda: self.control.collect(job))
        except RemoteCommandFailed as error:
            # the outcome stands, and is what there is to say; the next run will find and say it once more
            logger.warning("%s was not marked as collected: %s", job.id, error)

    def _remove(self, job: JobRef) -> None:
        try:
            self._patience.call(lambda: self.control.remove(job))
        except SSHJobError as error:
            # the outcome stands; what is left behind is only space
            logger.warning("%s was not removed: %s", job.id, error)
