"""Replaces Luigi's `TaskProcess` for tasks whose jobs run without a process."""

from __future__ import annotations

import importlib
import logging
import os
import queue
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import luigi
import luigi.worker
from luigi.task import flatten
from luigi.task_status import DONE, FAILED

from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.tasks import hosts
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker.host_choice import HostChoice
from luigi_sshjob.worker.job_runner import JobRunner
from luigi_sshjob.worker.main_thread import MainThreadQueue
from luigi_sshjob.worker.queued_status import QueuedStatusReporter
from luigi_sshjob.worker.reaper import Reaper
from luigi_sshjob.worker.threads import HostThreads, PriorityThreadPool

logger = logging.getLogger("luigi-interface")


class WorkerServices(Protocol):
    """What a task needs of its worker. All methods are for the main thread."""

    main_thread: MainThreadQueue
    reaper: Reaper

    def host_threads(self, connection: Connection) -> HostThreads:
        """The threads that work on the jobs of a host."""

    def check_pool(self, hosts: tuple[str, ...]) -> PriorityThreadPool:
        """Threads that check whether tasks on these hosts are complete."""

    def call_after_cancellation(self, task_id: str, call: Callable[[], None]) -> None:
        """Calls immediately, or when the job of an earlier run of the task has been cancelled."""

    def begin_cancellation(self, task_id: str) -> Callable[[], None]:
        """Records that the job of the task is being cancelled; returns a function that any thread calls at its end."""


class JobTaskProcess:
    """Does what `luigi.worker.TaskProcess.run` does, in steps. All methods are for the main thread.

    The main thread calls users' code, which may not be thread-safe; threads do what waits for a host. `process` is the
    one that Luigi made for the task, which is never started.
    """

    use_multiprocessing = False  # Luigi calls run(), which returns immediately
    exitcode = None

    def __init__(self, worker: WorkerServices, process: Any):
        self._worker = worker
        self._process = process
        self.task: RemoteJobTask = process.task
        self.worker_timeout = process.worker_timeout
        self.timeout_time = process.timeout_time
        reporter = process.status_reporter
        self.status_reporter = process.status_reporter = QueuedStatusReporter(
            worker.main_thread,
            self.task,
            reporter._scheduler,  # noqa: SLF001 - Luigi's, see tests/worker/test_luigi_internals.py
            self.task.task_id,
            process.worker_id,
            # not Luigi's: there is no other process to send the messages to; also to respond that none are accepted
            queue.Queue(),
        )
        self.runner: JobRunner | None = None
        self._choice: HostChoice | None = None
        self._started_at = 0.0
        self._missing: list[str] = []
        self._contexts = ExitStack()
        self._over = False

    def is_alive(self) -> bool:
        """Whether the task is still running."""
        return not self._over

    def run(self) -> None:
        """Starts to run the task."""
        logger.info("[pid %s] Worker %s holds     %s", os.getpid(), self._process.worker_id, self.task)
        self.task.cancel_after_timeout = self._cancel  # type: ignore[method-assign]
        self._worker.call_after_cancellation(self.task.task_id, partial(self._run_step, self._check_dependencies))

    def terminate(self) -> None:
        """Detaches from the job, before Luigi reports that it timed out."""
        self.detach()
        self._release_lease()

    def detach(self) -> None:
        """Stops watching the job, which keeps running; the reaper still watches the worker."""
        self._over = True
        self._close_contexts()
        self._worker.main_thread.discard(self.task.task_id)
        if self._choice:
            self._choice.abandon()
        if self.runner:
            self.runner.detach()

    def _run_step(self, step: Callable[[], None]) -> None:
        if self._over:
            return
        try:
            step()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - users' code fails the task, not the worker
            self._fail(error)

    def _run_in_main_thread(self, step: Callable[[], None]) -> None:
        self._worker.main_thread.call_soon(partial(self._run_step, step))

    def _check_dependencies(self) -> None:
        dependencies = list(self.task.deps()) if self._process.check_unfulfilled_deps else []
        remote = [task for task in dependencies if isinstance(task, RemoteJobTask)]
        self._add_missing([task for task in dependencies if not isinstance(task, RemoteJobTask)])
        if not remote:
            self._start()
            return

        def check() -> None:
            try:
                self._add_missing(remote)
                self._run_in_main_thread(self._start)
            except BaseException as error:  # noqa: BLE001 - users' code fails the task, not the thread
                self._run_in_main_thread(partial(self._fail, error))

        self._worker.check_pool(tuple(sorted({str(task.host) for task in remote}))).submit(check)

    def _add_missing(self, dependencies: Sequence[luigi.Task]) -> None:
        self._missing += [
            _with_missing_outputs(task) for task in dependencies if not self._process.check_complete(task)
        ]

    def _start(self) -> None:
        if self._missing:
            kind = "dependency" if len(self._missing) == 1 else "dependencies"
            raise RuntimeError(f"Unfulfilled {kind} at run time: {', '.join(self._missing)}")
        if self._process.context:
            module, _, name = self._process.context.rpartition(".")
            self._contexts.enter_context(getattr(importlib.import_module(module), name)(self._process))
        self.task.trigger_event(luigi.Event.START, self.task)
        self._started_at = time.time()
        self._contexts.enter_context(self._process._forward_attributes())  # noqa: SLF001 - Luigi's
        self._contexts.enter_context(hosts.until_end(self.task))
        self._choose_host({})

    def _choose_host(self, superseded: dict[str, int]) -> None:
        self._choice = HostChoice(
            self.task,
            superseded,
            partial(self._hold, superseded),
            in_main_thread=self._run_in_main_thread,
            threads=lambda: self._worker.check_pool((hosts.label(self.task),)),
        )
        self._choice.begin()

    def _choose_again(self, superseded: dict[str, int], attempt: int) -> None:
        assert self.runner
        self.runner.detach()
        self._release_lease()
        self._choose_host({**superseded, str(hosts.bound_host(self.task)): attempt})

    def _hold(self, superseded: dict[str, int]) -> None:
        self.runner = JobRunner(
            self.task,
            self._worker.host_threads(self.task.remote_context.connection),
            in_main_thread=self._run_in_main_thread,
            verify=lambda: not self._process.check_complete_on_run or self._process.check_complete(self.task),
            on_success=lambda complete: self._run_in_main_thread(partial(self._succeed, complete)),
            on_failure=lambda error: self._run_in_main_thread(partial(self._fail, error)),
            on_superseded=lambda attempt: self._run_in_main_thread(partial(self._choose_again, superseded, attempt)),
        )
        if self.runner.cancel_on_exit:
            self._worker.reaper.watch(self.runner.lease)
        self.runner.submit()

    def _cancel(self, message: str) -> None:
        if self.runner:
            self.runner.cancel(message, self._worker.begin_cancellation(self.task.task_id))

    def _succeed(self, complete: bool) -> None:
        self._worker.main_thread.flush(self.task.task_id)
        self._close_contexts()
        if not complete:
            raise luigi.worker.TaskException("Task finished running, but complete() is still returning false.")
        if self._process.task_completion_cache is not None:
            self._process.task_completion_cache[self.task.task_id] = True
        self.task.trigger_event(luigi.Event.PROCESSING_TIME, self.task, time.time() - self._started_at)
        explanation = self.task.on_success()
        logger.info("[pid %s] Worker %s done      %s", os.getpid(), self._process.worker_id, self.task)
        self.task.trigger_event(luigi.Event.SUCCESS, self.task)
        self._report_result(DONE, explanation)

    def _fail(self, error: BaseException) -> None:
        if self._over:
            return
        self._worker.main_thread.flush(self.task.task_id)
        self._close_contexts()
        explanation = ""
        try:
            explanation = self._handle(error)
        except (Exception, SystemExit):
            logger.exception("%s: on_failure or a handler of the event FAILURE failed", self.task)
        self._report_result(FAILED, explanation)

    def _handle(self, error: BaseException) -> Any:
        try:
            # Luigi's on_failure formats the exception that is being handled
            raise error  # noqa: TRY301
        except BaseException as handled:  # noqa: BLE001 - the error of the task, whatever it is
            return self._process._handle_run_exception(handled)  # noqa: SLF001 - Luigi's

    def _report_result(self, status: str, explanation: Any) -> None:
        self.detach()
        self._release_lease()
        # Luigi keeps the task until the end of the worker
        del self.task.cancel_after_timeout
        self._worker.main_thread.put_result((self.task.task_id, status, explanation, self._missing, []))

    def _close_contexts(self) -> None:
        try:
            self._contexts.close()
        except (Exception, SystemExit):  # it fails the task, not the worker
            logger.exception("%s: an error at the end of the run", self.task)

    def _release_lease(self) -> None:
        if self.runner and self.runner.cancel_on_exit:
            self._worker.reaper.release(self.runner.lease)


def _with_missing_outputs(task: luigi.Task) -> str:
    missing = [str(output) for output in flatten(task.output()) if not output.exists()]
    return f"{task.task_id} ({', '.join(missing)})" if missing else str(task.task_id)
