"""The worker itself: what Luigi's does, with room for two kinds of tasks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import luigi
import luigi.scheduler
import luigi.worker
from luigi.task_register import load_task

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.tasks.signals import Terminated, TerminationSignals
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker import shutdown
from luigi_sshjob.worker.main_thread import MainThreadQueue
from luigi_sshjob.worker.reaper import Reaper
from luigi_sshjob.worker.scheduler_proxy import LOCAL, REMOTE, SchedulerProxy
from luigi_sshjob.worker.task_process import JobTaskProcess
from luigi_sshjob.worker.threads import HostThreads, PriorityThreadPool

logger = logging.getLogger("luigi-interface")

# Seconds in which hosts may be asked to end jobs when the worker is told to end: it is gone within five, of which a
# busy machine takes some for what comes after. The guard has the time that the rest needs.
_FAREWELL = 2.5


class RemoteJobWorker(luigi.worker.Worker):
    """Luigi's worker with room for `remote_jobs` besides `worker_processes` local tasks."""

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
                f"remote_jobs is no number of jobs: {remote_jobs!r}", next_step="give 0 or more jobs to be held at once"
            )
        self._rooms = {LOCAL: int(worker_processes), REMOTE: int(remote_jobs)}
        self._signals = TerminationSignals()
        names = SchedulerProxy(luigi.scheduler.Scheduler() if scheduler is None else scheduler, self, assistant)
        super().__init__(names, worker_id, worker_processes, assistant=assistant, **options)
        self._set_sum()
        self.mailbox = MainThreadQueue(self._task_result_queue, self.end_if_told)
        self._task_result_queue = self.mailbox  # type: ignore[assignment]
        self._crews: dict[Connection, HostThreads] = {}
        self._checkers: dict[tuple[str, ...], PriorityThreadPool] = {}
        self._ending: dict[str, list[Callable[[], None]]] = {}
        self.guard = Reaper()

    def run(self) -> Any:
        """As Luigi's; what ran out of time is cancelled when it returns."""
        succeeded = super().run()
        while self._ending:
            self.end_if_told()
            self.mailbox.attend(0.1)
        return succeeded

    # -- how much room there is, see `Capacity` in two_names.py

    def kind_of(self, task_id: str) -> str | None:
        """See `Capacity`."""
        task = self._scheduled_tasks.get(task_id)
        return None if task is None else self._kind(task)

    def kind_of_work(self, work: dict[str, Any]) -> str:
        """See `Capacity`."""
        try:
            return self._kind(load_task(work.get("task_module"), work["task_family"], work["task_params"]))
        except Exception:  # Luigi meets with the same, and reports it
            return LOCAL

    def room(self, kind: str) -> int:
        """See `Capacity`."""
        return self._rooms[kind]

    def has_room(self, kind: str) -> bool:
        """See `Capacity`."""
        held = len(self._held())
        return (held if kind == REMOTE else len(self._running_tasks) - held) < self._rooms[kind]

    def has_results(self) -> bool:
        """See `Capacity`."""
        return bool(self._running_tasks) and self.mailbox.pending()

    def end_if_told(self) -> None:
        """See `Capacity`."""
        self._signals.check()

    @luigi.worker.rpc_message_callback  # type: ignore[untyped-decorator]
    def set_worker_processes(self, n: int) -> None:
        """From luigid's page."""
        self._set_room(LOCAL, n)

    @luigi.worker.rpc_message_callback  # type: ignore[untyped-decorator]
    def set_remote_jobs(self, n: int) -> None:
        """From luigid's page, under the second name."""
        self._set_room(REMOTE, n)

    def _set_room(self, kind: str, n: int) -> None:
        self._rooms[kind] = max(1, int(n))
        self._set_sum()
        self._scheduler.add_worker(self._id, {})

    def _set_sum(self) -> None:
        # Luigi waits for the end of a task when so many run, and forks when it is more than one
        self.worker_processes = sum(self._rooms.values())

    def _kind(self, task: luigi.Task) -> str:
        # a run() of its own may do anything, and gets a process; that of a task made external is None
        remote = isinstance(task, RemoteJobTask) and getattr(task.run, "__func__", None) is RemoteJobTask.run
        return REMOTE if remote and self._rooms[REMOTE] else LOCAL

    # -- running tasks

    def _create_task_process(self, task: luigi.Task) -> Any:
        process = super()._create_task_process(task)
        return JobTaskProcess(self, process) if self._kind(task) == REMOTE else process

    def _held(self) -> list[JobTaskProcess]:
        return [process for process in self._running_tasks.values() if isinstance(process, JobTaskProcess)]

    def crew_of(self, connection: Connection) -> HostThreads:
        """The threads that work on the jobs of a host."""
        if connection not in self._crews:
            self._crews[connection] = HostThreads(connection)
        return self._crews[connection]

    def checkers_of(self, hosts: tuple[str, ...]) -> PriorityThreadPool:
        """Threads that look at what other tasks have made on these hosts: if one of them is slow, so is all there."""
        if hosts not in self._checkers:
            self._checkers[hosts] = PriorityThreadPool(f"checks {' '.join(hosts)}", most=4)
        return self._checkers[hosts]

    def when_ended(self, task_id: str, begin: Callable[[], None]) -> None:
        """Now, or when the job of an earlier run of the task has been cancelled."""
        waiting = self._ending.get(task_id)
        if waiting is None:
            begin()
        else:
            waiting.append(begin)

    def ends(self, task_id: str) -> Callable[[], None]:
        """Its job is being cancelled, until what is returned is called, by any thread."""
        self._ending.setdefault(task_id, [])

        def ended() -> None:
            for begin in self._ending.pop(task_id, []):
                begin()

        return lambda: self.mailbox.errand(ended)

    # -- the end

    def __enter__(self) -> Any:
        self._signals.install()
        return super().__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> Any:
        self._signals.restore(kind)
        self._leave(time.monotonic() + _FAREWELL)
        if kind is not None:
            # what is done at exit would wait longer for each host that does not answer
            connections = [crew.connection for crew in self._crews.values()]
            closing = [threading.Thread(target=one.close_shell, args=(0.5,), daemon=True) for one in connections]
            for thread in closing:
                thread.start()
            for thread in closing:
                thread.join(1)
        if kind is Terminated:
            self._signals.terminate_process()
        return super().__exit__(kind, value, traceback)

    def _leave(self, deadline: float) -> None:
        held = self._held()
        for stand_in in held:
            stand_in.let_go()
        jobs = [stand_in.job for stand_in in held if stand_in.job and stand_in.job.cancelled_at_exit]
        done = not jobs or shutdown.cancel_all(jobs, deadline - time.monotonic())
        while self._ending and time.monotonic() < deadline:
            self.mailbox.attend(0.05)
        self.guard.dismiss(jobs_left=not done)
        for hands in self._checkers.values():
            hands.close()
        for crew in self._crews.values():
            crew.close()
