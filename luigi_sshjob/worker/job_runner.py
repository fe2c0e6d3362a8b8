"""The job of one task that is held without a process: its steps are done by the threads of a crew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from luigi_sshjob.errors import HostUnreachable, SSHJobError
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome
from luigi_sshjob.jobs.watcher import WatchedJob
from luigi_sshjob.tasks.run import JobRun
from luigi_sshjob.worker.reaper import JobLease
from luigi_sshjob.worker.threads import HostThreads

logger = logging.getLogger("luigi-interface")

_REPEAT = 60.0  # seconds; hundreds of jobs have one process to tell the scheduler that nothing has changed


class JobRunner:
    """From `begin` to the call of `succeeded` or `failed`, one of them once, unless it is given up before.

    `verify` is called when the outcome was taken over, and what it says is given to `succeeded`; all three are called
    by threads of the crew. Raises `ConfigurationError` for a declaration that cannot be used.
    """

    def __init__(
        self,
        task: Any,
        crew: HostThreads,
        *,
        verify: Callable[[], bool],
        succeeded: Callable[[bool], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._crew = crew
        self._verify = verify
        self._succeeded = succeeded
        self._failed = failed
        self._patience = crew.patience(crew.connection.settings.unreachable_timeout)
        self._patience.on_retry = self._host_is_silent
        self._run: JobRun = task.prepare_run(self._patience, _REPEAT)
        self._options = self._run.options
        self.grace = self._options.kill_grace
        self.cancelled_at_exit = self._options.on_worker_exit == "cancel"
        self._watched: WatchedJob | None = None
        self._turn = threading.Lock()
        self._over = self._answering = False

    @property
    def crew(self) -> HostThreads:
        """Whose threads work on it."""
        return self._crew

    @property
    def ref(self) -> JobRef | None:
        """The attempt, once it was submitted."""
        return self._run.job

    @cached_property
    def charge(self) -> JobLease:
        """For the guard."""
        context = self._options.context
        return JobLease(
            host=context.host,
            options=tuple(context.options.items()),
            base_dir=self._options.base_dir,
            launcher=self._options.launcher.name,
            key=self._run.spec.key,
            grace=self.grace,
        )

    def begin(self) -> None:
        """Soon."""
        self._do(self._submit)

    def give_up(self) -> None:
        """Lets go of it; the job goes on."""
        self._over = True
        self._patience.stop()
        if self._watched:
            self._crew.lookout.remove(self._watched)

    def cancel(self, why: str, done: Callable[[], None]) -> None:
        """Ends the job that was given up, soon; `done` is called by a thread of the crew, whatever came of it."""

        def cancel() -> None:
            try:
                # a submission that is under way ends before
                with self._turn:
                    self._run.cancel(why)
            except SSHJobError as error:
                logger.warning("the job was not cancelled: %s", error)
            finally:
                done()

        self._crew.hands.do(cancel, urgent=True)

    def settled(self, seconds: float) -> bool:
        """Waits so long for a step that is being done."""
        if not self._turn.acquire(timeout=seconds):
            return False
        self._turn.release()
        return True

    # -- steps

    def _do(self, step: Callable[[], None], *, urgent: bool = False) -> None:
        self._crew.hands.do(partial(self._step, step), urgent=urgent)

    def _step(self, step: Callable[[], None]) -> None:
        with self._turn:
            if self._over:
                return
            try:
                step()
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._over:
            self.give_up()
            self._failed(error)

    def _submit(self) -> None:
        job = self._run.submit()
        if job is None:
            self._succeed()
            return
        self._watched = WatchedJob(
            tracker=self._run.monitor.tracker(job, self._observe),
            retry=self._patience,
            interval=self._options.poll_interval,
            on_end=lambda outcome: self._do(partial(self._settle, outcome), urgent=True),
            on_error=self._fail,
            relaunch=lambda: self._do(self._relaunch),
        )
        if not self._over:
            self._crew.lookout.add(self._watched)

    def _observe(self, observation: JobStatus) -> None:
        self._run.observe(observation)
        self._heed_messages()

    def _host_is_silent(self, error: HostUnreachable) -> None:
        self._run.report_unreachable(error)
        self._heed_messages()

    def _heed_messages(self) -> None:
        if self._run.has_messages() and not self._answering:
            # what they ask for may take long
            self._answering = True
            self._do(self._answer)

    def _answer(self) -> None:
        self._answering = False
        self._run.answer_messages()

    def _relaunch(self) -> None:
        if self._watched:
            tracker = self._watched.tracker
            tracker.launch_error = self._patience.call(lambda: self._run.jobs.client.relaunch(tracker.job))

    def _settle(self, outcome: Outcome) -> None:
        self._watched = None
        if self._run.finish(outcome):
            self._succeed()
        else:
            self._submit()

    def _succeed(self) -> None:
        complete = self._verify()
        if not self._over:
            self._over = True
            self._succeeded(complete)
