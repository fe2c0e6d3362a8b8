"""Luigi's worker, with slots for two kinds of tasks."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import luigi
import luigi.scheduler
import luigi.worker
from luigi.task_register import load_task

from luigi_sshjob.errors import ConfigurationError, LocalResourceError
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.tasks import completion
from luigi_sshjob.tasks.signals import Terminated, TerminationSignals
from luigi_sshjob.tasks.task import RemoteJobTask, has_default_output
from luigi_sshjob.worker import log_locks, shutdown
from luigi_sshjob.worker.failures import FailureRecorder
from luigi_sshjob.worker.main_thread import MainThreadQueue
from luigi_sshjob.worker.reaper import Reaper
from luigi_sshjob.worker.scheduler_proxy import LOCAL, REMOTE, SchedulerProxy
from luigi_sshjob.worker.task_process import JobTaskProcess
from luigi_sshjob.worker.threads import HostThreads, PriorityThreadPool

logger = logging.getLogger("luigi-interface")

# Seconds in which a terminated worker cancels jobs. It has to end within five seconds, and on a busy machine the rest
# of its shutdown takes some of them. The reaper cancels the jobs that are left.
_CANCEL_TIMEOUT = 2.5
_PURGE_PAUSE = 0.1  # seconds between two looks at all running tasks


class RemoteJobWorker(FailureRecorder):
    """Luigi's worker, with slots for `remote_jobs` remote jobs in addition to `worker_processes` local tasks."""

    def __init__(
        self,
        remote_jobs: int,
        scheduler: Any = None,
        worker_id: str | None = None,
        worker_processes: int = 1,
        assistant: bool = False,
        **options: Any,
    ):
        if not isinstance(remote_jobs, int) or remote_jobs < 0:
            raise ConfigurationError(
                f"remote_jobs must be an integer, 0 or more: {remote_jobs!r}",
                next_step="set how many remote jobs may run at the same time",
            )
        self._slots = {LOCAL: int(worker_processes), REMOTE: int(remote_jobs)}
        self._signals = TerminationSignals()
        self._runs = False
        self._next_purge = 0.0
        proxy = SchedulerProxy(luigi.scheduler.Scheduler() if scheduler is None else scheduler, self, assistant)
        super().__init__(proxy, worker_id, worker_processes, assistant=assistant, **options)
        self._set_worker_processes()
        self.main_thread = MainThreadQueue(self._task_result_queue, self.check_signals)
        self._task_result_queue = self.main_thread  # type: ignore[assignment]
        self.reaper = Reaper()
        self._host_threads: dict[Connection, HostThreads] = {}
        self._check_pools: dict[tuple[str, ...], PriorityThreadPool] = {}
        self._after_cancellation: dict[str, list[Callable[[], None]]] = {}
        log_locks.hold_during_fork()

    def __enter__(self) -> Any:
        self._signals.install()
        return super().__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> Any:
        self._signals.restore(kind)
        self._shut_down(time.monotonic() + _CANCEL_TIMEOUT)
        if kind is not None:
            self._close_shells()
        if kind is Terminated:
            self._signals.terminate_process()
        return super().__exit__(kind, value, traceback)

    def run(self) -> Any:
        """Runs all tasks, and waits for the cancellation of those that timed out."""
        self._runs = True
        completion.forget()
        succeeded = super().run()
        while self._after_cancellation:
            self.check_signals()
            self.main_thread.run_calls(0.1)
        return succeeded

    def kind_of(self, task_id: str) -> str | None:
        """LOCAL or REMOTE; None for a task that was not scheduled."""
        task = self._scheduled_tasks.get(task_id)
        return None if task is None else self._kind(task)

    def kind_of_work(self, work: dict[str, Any]) -> str:
        """LOCAL or REMOTE, for a response of the scheduler."""
        try:
            return self._kind(load_task(work.get("task_module"), work["task_family"], work["task_params"]))
        except Exception:  # noqa: BLE001 - users' modules may raise anything; Luigi loads them again and reports it
            return LOCAL

    def slots(self, kind: str) -> int:
        """The most tasks of this kind that may run at the same time."""
        return self._slots[kind]

    def has_free_slot(self, kind: str) -> bool:
        """Whether another task of this kind may start."""
        # usually enough, without counting
        if kind == REMOTE and len(self._running_tasks) < self._slots[REMOTE]:
            return True
        remote = len(self._job_processes())
        return (remote if kind == REMOTE else len(self._running_tasks) - remote) < self._slots[kind]

    def has_results(self) -> bool:
        """Whether a running task has ended and its result is not yet reported."""
        return bool(self._running_tasks) and self.main_thread.is_ready()

    def check_signals(self) -> None:
        """Raises `Terminated` or KeyboardInterrupt after SIGTERM or SIGINT."""
        self._signals.check()

    @luigi.worker.rpc_message_callback  # type: ignore[untyped-decorator]
    def set_worker_processes(self, n: int) -> None:
        """Called from luigid's page."""
        self._set_slots(LOCAL, n)

    @luigi.worker.rpc_message_callback  # type: ignore[untyped-decorator]
    def set_remote_jobs(self, n: int) -> None:
        """Called from luigid's page, by way of the second id."""
        self._set_slots(REMOTE, n)

    def host_threads(self, connection: Connection) -> HostThreads:
        """The threads that work on the jobs of a host."""
        if connection not in self._host_threads:
            self._host_threads[connection] = HostThreads(connection)
        return self._host_threads[connection]

    def check_pool(self, hosts: tuple[str, ...]) -> PriorityThreadPool:
        """Threads that check whether tasks on these hosts are complete; a slow host delays only tasks that need it."""
        if hosts not in self._check_pools:
            self._check_pools[hosts] = PriorityThreadPool(f"checks {' '.join(hosts)}", max_threads=4)
        return self._check_pools[hosts]

    def call_after_cancellation(self, task_id: str, call: Callable[[], None]) -> None:
        """Calls immediately, or when the job of an earlier run of the task has been cancelled."""
        waiting = self._after_cancellation.get(task_id)
        if waiting is None:
            call()
        else:
            waiting.append(call)

    def begin_cancellation(self, task_id: str) -> Callable[[], None]:
        """Records that the job of the task is being cancelled; returns a function that any thread calls at its end."""
        self._after_cancellation.setdefault(task_id, [])

        def end() -> None:
            for call in self._after_cancellation.pop(task_id, []):
                call()

        return lambda: self.main_thread.call_soon(end)

    def _add(self, task: luigi.Task, is_complete: Any) -> Iterator[luigi.Task]:
        dependencies = list(super()._add(task, is_complete))
        if not self._runs:
            expect(dependencies)
        return iter(dependencies)

    def _set_slots(self, kind: str, n: int) -> None:
        self._slots[kind] = max(1, int(n))
        self._set_worker_processes()
        self._scheduler.add_worker(self._id, {})

    def _set_worker_processes(self) -> None:
        # Luigi waits for the end of a task when this number of tasks runs, and forks if it is greater than one
        self.worker_processes = sum(self._slots.values())

    def _purge_children(self) -> None:
        # Luigi does it before each result, at a cost that grows with the running tasks. A process that dies later is
        # found after wait_interval, also in Luigi.
        now = time.monotonic()
        if now >= self._next_purge:
            self._next_purge = now + _PURGE_PAUSE
            super()._purge_children()

    def _kind(self, task: luigi.Task) -> str:
        # a task with a run() of its own may do anything, and gets a process; the run of an external task is None
        remote = isinstance(task, RemoteJobTask) and getattr(task.run, "__func__", None) is RemoteJobTask.run
        return REMOTE if remote and self._slots[REMOTE] else LOCAL

    def _create_task_process(self, task: luigi.Task) -> Any:
        if self._kind(task) == LOCAL:
            return super()._create_task_process(task)
        with _refusing_messages(task):
            process = super()._create_task_process(task)
        return JobTaskProcess(self, process)

    def _job_processes(self) -> list[JobTaskProcess]:
        return [process for process in self._running_tasks.values() if isinstance(process, JobTaskProcess)]

    def _shut_down(self, deadline: float) -> None:
        processes = self._job_processes()
        for process in processes:
            process.detach()
        runners = [process.runner for process in processes if process.runner]
        shutdown.log_left(runners)
        cancelled = shutdown.cancel_all([each for each in runners if each.cancel_on_exit], deadline - time.monotonic())
        while self._after_cancellation and time.monotonic() < deadline:
            self.main_thread.run_calls(0.05)
        self.reaper.stop(cancel_jobs=not cancelled)
        for pool in self._check_pools.values():
            pool.close()
        for threads in self._host_threads.values():
            threads.close()

    def _close_shells(self) -> None:
        # the exit handler would wait for one unreachable host after the other, and longer
        closing = []
        for connection in self._host_threads:
            # the end of the process closes the others
            with contextlib.suppress(LocalResourceError):
                closing.append(start_thread(connection.close_shell, 0.5))
        for thread in closing:
            thread.join(1)


def expect(tasks: Iterable[Any]) -> None:
    """Announces tasks that are about to be scheduled, so that their hosts are asked for many at once."""
    completion.expect(task for task in tasks if isinstance(task, RemoteJobTask) and has_default_output(task))


@contextlib.contextmanager
def _refusing_messages(task: luigi.Task) -> Iterator[None]:
    # otherwise Luigi makes a queue between processes for them, which takes longer than the rest; see JobTaskProcess
    name, attributes = "accepts_messages", vars(task)
    own = {name: attributes[name]} if name in attributes else {}
    attributes[name] = False
    try:
        yield
    finally:
        del attributes[name]
        attributes.update(own)
