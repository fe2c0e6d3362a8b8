"""What Luigi's worker takes for the process of a task, while the task's job is held without one."""

from __future__ import annotations

import importlib
import logging
import os
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import luigi
import luigi.worker
from luigi.task import flatten
from luigi.task_status import DONE, FAILED

from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.tasks.tracking import report_running
from luigi_sshjob.worker.job_runner import JobRunner
from luigi_sshjob.worker.main_thread import MainThreadQueue

if TYPE_CHECKING:
    from luigi_sshjob.worker.worker import RemoteJobWorker

logger = logging.getLogger("luigi-interface")


class QueuedStatusReporter(luigi.worker.TaskStatusReporter):
    """Luigi's, by way of the main thread. What is only shown may wait, and gives way to what comes after it."""

    def __init__(self, mailbox: MainThreadQueue, task: Any, *luigis: Any):
        super().__init__(*luigis)
        self._mailbox = mailbox
        self._task = task
        self._id = task.task_id

    def update_tracking_url(self, tracking_url: str | None) -> None:
        """As Luigi's, see announcing.py."""
        self._mailbox.post(self._id, "tracking URL", partial(report_running, self, self._task, tracking_url))

    def update_status_message(self, message: str) -> None:
        """As Luigi's."""
        self._mailbox.post(self._id, "status", partial(super().update_status_message, message))

    def update_progress_percentage(self, percentage: int) -> None:
        """As Luigi's."""
        self._mailbox.post(self._id, "progress", partial(super().update_progress_percentage, percentage))


class JobTaskProcess:
    """For `process`, which Luigi made and which is never started. Every method is for the main thread.

    Does what `luigi.worker.TaskProcess.run` does with a task, in pieces: what users have written is called by the main
    thread, as it may not be fit for another, and what waits for a host is done by the threads of its crew.
    """

    use_multiprocessing = False  # Luigi calls run(), which returns at once
    exitcode = None

    def __init__(self, worker: RemoteJobWorker, process: Any):
        self._worker = worker
        self._process = process
        self.task = process.task
        self.worker_timeout = process.worker_timeout
        self.timeout_time = process.timeout_time
        messages = process.status_reporter.scheduler_messages
        self.status_reporter = process.status_reporter = QueuedStatusReporter(
            worker.mailbox,
            self.task,
            *(process.status_reporter._scheduler, self.task.task_id, process.worker_id),
            # no process to send them to, so no pipe
            queue.Queue() if messages is not None else None,
        )
        self.job: JobRunner | None = None
        self._began = 0.0
        self._missing: list[str] = []
        self._while_it_runs = ExitStack()
        self._over = False

    def is_alive(self) -> bool:
        """Whether the task is still being run."""
        return not self._over

    def run(self) -> None:
        """Begins, and returns."""
        logger.info("[pid %s] Worker %s holds     %s", os.getpid(), self._process.worker_id, self.task)
        self.task.on_timeout = self._cancel
        self._worker.when_ended(self.task.task_id, partial(self._attempt, self._begin))

    def terminate(self) -> None:
        """Lets go of the job, which goes on. Luigi says next that it has timed out."""
        self.let_go()
        self._leave_guard()

    def let_go(self) -> None:
        """The same, but the guard stays with it."""
        self._over = True
        self._close()
        self._worker.mailbox.take_posts_of(self.task.task_id)
        if self.job:
            self.job.give_up()

    def _close(self) -> None:
        try:
            self._while_it_runs.close()
        except (Exception, SystemExit):  # of one task; the worker has others
            logger.exception("%s: what was to end with the run failed itself", self.task)

    def _leave_guard(self) -> None:
        if self.job and self.job.cancelled_at_exit:
            self._worker.guard.leave(self.job.charge)

    def _attempt(self, step: Callable[[], None]) -> None:
        if self._over:
            return
        try:
            step()
        except (Exception, SystemExit) as error:
            self._fail(error)

    def _errand(self, step: Callable[[], None]) -> None:
        self._worker.mailbox.errand(partial(self._attempt, step))

    # -- what it depends on

    def _begin(self) -> None:
        dependencies = list(self.task.deps()) if self._process.check_unfulfilled_deps else []
        remote = [task for task in dependencies if isinstance(task, RemoteJobTask)]
        self._check([task for task in dependencies if not isinstance(task, RemoteJobTask)])
        if not remote:
            self._start()
            return

        def check() -> None:
            try:
                self._check(remote)
                self._errand(self._start)
            except BaseException as error:
                self._errand(partial(self._fail, error))

        hosts = tuple(sorted({str(task.host) for task in remote}))
        self._worker.checkers_of(hosts).do(check)

    def _check(self, dependencies: Sequence[luigi.Task]) -> None:
        self._missing += [
            _with_missing_outputs(task) for task in dependencies if not self._process.check_complete(task)
        ]

    # -- the task

    def _start(self) -> None:
        if self._missing:
            kind = "dependency" if len(self._missing) == 1 else "dependencies"
            raise RuntimeError(f"Unfulfilled {kind} at run time: {', '.join(self._missing)}")
        if self._process.context:
            module, _, name = self._process.context.rpartition(".")
            self._while_it_runs.enter_context(getattr(importlib.import_module(module), name)(self._process))
        self.task.trigger_event(luigi.Event.START, self.task)
        self._began = time.time()
        self._while_it_runs.enter_context(self._process._forward_attributes())
        self.job = JobRunner(
            self.task,
            self._worker.crew_of(self.task.remote_context.connection),
            verify=lambda: not self._process.check_complete_on_run or self._process.check_complete(self.task),
            succeeded=lambda complete: self._errand(partial(self._succeed, complete)),
            failed=lambda error: self._errand(partial(self._fail, error)),
        )
        if self.job.cancelled_at_exit:
            self._worker.guard.watch(self.job.charge)
        self.job.begin()

    def _cancel(self, why: str) -> None:
        if self.job:
            self.job.cancel(why, self._worker.ends(self.task.task_id))

    def _succeed(self, complete: bool) -> None:
        self._worker.mailbox.send_posts_of(self.task.task_id)
        self._close()
        if not complete:
            raise luigi.worker.TaskException("Task finished running, but complete() is still returning false.")
        if self._process.task_completion_cache is not None:
            self._process.task_completion_cache[self.task.task_id] = True
        self.task.trigger_event(luigi.Event.PROCESSING_TIME, self.task, time.time() - self._began)
        explanation = self.task.on_success()
        logger.info("[pid %s] Worker %s done      %s", os.getpid(), self._process.worker_id, self.task)
        self.task.trigger_event(luigi.Event.SUCCESS, self.task)
        self._put(DONE, explanation)

    def _fail(self, error: BaseException) -> None:
        if self._over:
            return
        self._worker.mailbox.send_posts_of(self.task.task_id)
        self._close()
        explanation = ""
        try:
            # Luigi's on_failure looks for the error that is being handled
            try:
                raise error
            except BaseException as handled:
                explanation = self._process._handle_run_exception(handled)
        except (Exception, SystemExit):
            logger.exception("%s: on_failure, or a handler of a failure, failed itself", self.task)
        self._put(FAILED, explanation)

    def _put(self, status: str, explanation: Any) -> None:
        self.let_go()
        self._leave_guard()
        # Luigi keeps the task to its end
        del self.task.on_timeout
        self._worker.mailbox.put_here((self.task.task_id, status, explanation, self._missing, []))


def _with_missing_outputs(task: luigi.Task) -> str:
    missing = [str(output) for output in flatten(task.output()) if not output.exists()]
    return f"{task.task_id} ({', '.join(missing)})" if missing else str(task.task_id)
