"""Runs the job of one task without a process; the threads of its host execute the steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property, partial

from luigi_sshjob.errors import HostUnreachable, LocalResourceError, SSHJobError
from luigi_sshjob.jobs.actions import Action
from luigi_sshjob.jobs.model import JobRef, JobStatus
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.pool import Superseded
from luigi_sshjob.jobs.watcher import WatchedJob
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.tasks.messages import has_messages
from luigi_sshjob.tasks.retries import Again
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker.reaper import JobLease
from luigi_sshjob.worker.threads import HostThreads, PriorityThreadPool

logger = logging.getLogger("luigi-interface")

_TICK = 2.0  # seconds between two looks at what may end a pause
_REPEAT = 60.0  # seconds; one process reports the unchanged status of hundreds of jobs to the scheduler


class JobRunner:
    """Calls either `on_success` or `on_failure` once after `submit`, unless the job is detached before.

    In place of both, `on_superseded` is called with the latest attempt if a host of a pool has to be chosen again.

    `verify` is called after the outcome was collected, and its result is passed to `on_success`. All three are called
    by threads of the host, which use `in_main_thread` for handlers of events and for the scheduler. Raises
    `ConfigurationError` for invalid attributes of the task.
    """

    def __init__(
        self,
        task: RemoteJobTask,
        threads: HostThreads,
        *,
        in_main_thread: Callable[[Callable[[], None]], None],
        verify: Callable[[], bool],
        on_success: Callable[[bool], None],
        on_failure: Callable[[BaseException], None],
        on_superseded: Callable[[int], None],
    ) -> None:
        self._task = task
        self._threads = threads
        self._verify = verify
        self._on_success = on_success
        self._on_failure = on_failure
        self._on_superseded = on_superseded
        self._retry = threads.retry(threads.connection.settings.unreachable_timeout)
        self._retry.on_retry = self._report_unreachable
        self._run = task.prepare_run(self._retry, _REPEAT)
        self._run.in_main_thread = self._in_main_thread = in_main_thread
        self._options = self._run.options
        self.kill_grace = self._options.kill_grace
        self.cancel_on_exit = self._options.on_worker_exit == "cancel"
        self._watched: WatchedJob | None = None
        self._step_lock = threading.Lock()
        self._over = self._answering = False

    @property
    def connection(self) -> Connection:
        """To the host of the job."""
        return self._threads.connection

    @property
    def ref(self) -> JobRef | None:
        """The attempt, once it was submitted."""
        return self._run.job

    @cached_property
    def lease(self) -> JobLease:
        """For the reaper."""
        return JobLease.of(self._options, self._run.spec.key)

    def submit(self) -> None:
        """Starts with the submission; returns immediately."""
        self._enqueue(self._submit, self._threads.uploads if self._run.may_send else None)

    def detach(self) -> None:
        """Stops watching the job, which keeps running."""
        self._over = True
        self._retry.stop()
        if self._watched:
            self._threads.watcher.remove(self._watched)

    def cancel(self, reason: str, on_done: Callable[[], None]) -> None:
        """Cancels a detached job; returns immediately. A thread of the host calls `on_done`, even after an error."""

        def cancel() -> None:
            try:
                # a submission in progress has to end first
                with self._step_lock:
                    self._run.cancel(reason)
            except SSHJobError as error:
                logger.warning("the job was not cancelled: %s", error)
            finally:
                on_done()

        try:
            self._threads.pool.submit(cancel, urgent=True)
        except LocalResourceError as error:
            logger.warning("the job was not cancelled: %s", error)
            on_done()

    def wait_for_step(self, timeout: float) -> bool:
        """Waits for the step in progress; returns whether it has ended."""
        if not self._step_lock.acquire(timeout=timeout):
            return False
        self._step_lock.release()
        return True

    def _enqueue(
        self, step: Callable[[], None], pool: PriorityThreadPool | None = None, *, urgent: bool = False
    ) -> None:
        try:
            (pool or self._threads.pool).submit(partial(self._run_step, step), urgent=urgent)
        except LocalResourceError as error:
            # also in the thread that watches the other jobs; the next run of this task attaches to its job
            self._fail(error)

    def _run_step(self, step: Callable[[], None]) -> None:
        with self._step_lock:
            if self._over:
                return
            try:
                step()
            except Again as again:
                self._pause(again, time.monotonic() + again.pause)
            except Superseded as found:
                self._on_superseded(found.attempt)
            except BaseException as error:  # noqa: BLE001 - it fails the task, not the thread
                self._fail(error)

    def _pause(self, again: Again, until: float) -> None:
        """Begins the next attempt at that time (`time.monotonic()`), in the main thread, as it calls users' code."""
        left = until - time.monotonic()
        if self._over:
            return
        if left > 0 and not self._run.submitted.cancelled:
            self._check_messages()
            self._threads.watcher.call_later(min(left, _TICK), lambda: self._pause(again, until))
        else:
            self._in_main_thread(lambda: self._restart(again))

    def _restart(self, again: Again) -> None:
        self._run.restart(again.previous)
        self.submit()

    def _submit(self) -> None:
        job = self._run.submit()
        if job is None:
            self._succeed()
            return
        self._watched = WatchedJob(
            tracker=self._run.monitor.tracker(job, self._observe),
            retry=self._retry,
            interval=self._options.poll_interval,
            on_end=self._enqueue_finish,
            on_error=self._fail,
            perform=lambda action: self._enqueue(partial(self._perform, action)),
        )
        if not self._over:
            self._threads.watcher.add(self._watched)

    def _enqueue_finish(self, outcome: Outcome) -> None:
        fetches = outcome.succeeded and self._run.spec.returned
        self._enqueue(partial(self._finish, outcome), self._threads.downloads if fetches else None, urgent=True)

    def _perform(self, action: Action) -> None:
        if self._watched:
            tracker = self._watched.tracker
            tracker.launch_error = self._retry.call(lambda: self._run.jobs.client.perform(tracker.job, action))

    def _observe(self, status: JobStatus) -> None:
        self._run.observe(status)
        self._check_messages()

    def _report_unreachable(self, error: HostUnreachable) -> None:
        self._run.report_unreachable(error)
        self._check_messages()

    def _check_messages(self) -> None:
        # a thread of the pool responds, because this may take long
        if has_messages(self._task) and not self._answering:
            self._answering = True
            self._enqueue(self._answer_messages)

    def _answer_messages(self) -> None:
        self._answering = False
        self._run.answer_messages()

    def _finish(self, outcome: Outcome) -> None:
        self._watched = None
        if self._run.finish(outcome):
            self._succeed()
        else:
            self.submit()

    def _succeed(self) -> None:
        complete = self._verify()
        if not self._over:
            self._over = True
            self._on_success(complete)

    def _fail(self, error: BaseException) -> None:
        if not self._over:
            self.detach()
            self._on_failure(error)
