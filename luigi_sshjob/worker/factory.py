"""Makes a Luigi worker that runs remote jobs in its own process, and local tasks in processes as before.

tests/worker/test_luigi_internals.py lists what this package uses of Luigi's internals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import luigi
import luigi.interface
import luigi.retcodes

from luigi_sshjob import config
from luigi_sshjob.tasks import completion
from luigi_sshjob.worker.failures import Failures
from luigi_sshjob.worker.local_scheduler import LocalScheduler
from luigi_sshjob.worker.worker import RemoteJobWorker, expect

_LuigiFactory = luigi.interface._WorkerSchedulerFactory  # noqa: SLF001 - Luigi's default


def build(tasks: Sequence[luigi.Task], *, workers: int = 1, remote_jobs: int | None = None, **options: Any) -> Any:
    """Like `luigi.build`, with a worker that runs up to `remote_jobs` jobs of `RemoteJobTask`s in this process.

    The default of `remote_jobs` is set in `[sshjob]`, or 500. Up to `workers` local tasks run in processes of their
    own. `options` and the return value are those of `luigi.build`.
    """
    schedulers = options.pop("worker_scheduler_factory", None)
    factory = WorkerSchedulerFactory(remote_jobs, schedulers)
    tasks = list(tasks)
    # of a build that was interrupted
    completion.forget()
    expect(tasks)
    with factory.reporting_failures():
        return luigi.build(tasks, worker_scheduler_factory=factory, workers=workers, **options)


def run(arguments: Sequence[str], remote_jobs: int | None = None) -> None:
    """Like the `luigi` command, with such a worker. Raises `SystemExit` at the end, as the command does."""
    factory = WorkerSchedulerFactory(remote_jobs)
    # the entry point with exit codes takes no factory
    setattr(luigi.interface, "_WorkerSchedulerFactory", lambda: factory)  # noqa: B010
    with factory.reporting_failures():
        luigi.retcodes.run_with_retcodes(list(arguments))


class WorkerSchedulerFactory:
    """For the parameter `worker_scheduler_factory` of `luigi.build` and `luigi.run`.

    `schedulers` is another such factory, which makes the schedulers.
    """

    def __init__(self, remote_jobs: int | None = None, schedulers: Any = None):
        self._remote_jobs = remote_jobs
        self._schedulers = schedulers
        self._failures: list[Failures] = []

    @contextlib.contextmanager
    def reporting_failures(self) -> Iterator[None]:
        """Logs at the end, after Luigi's summary, which tasks have failed and why."""
        try:
            yield
        finally:
            for failures in self._failures:
                failures.log()
            self._failures.clear()

    def create_local_scheduler(self) -> Any:
        """Makes a scheduler in this process."""
        return self._schedulers.create_local_scheduler() if self._schedulers else LocalScheduler()

    def create_remote_scheduler(self, url: str) -> Any:
        """Makes a client of luigid."""
        return (self._schedulers or _LuigiFactory()).create_remote_scheduler(url)

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> RemoteJobWorker:
        """Makes a worker with slots for `worker_processes` local tasks."""
        remote_jobs = config.get_settings().remote_jobs if self._remote_jobs is None else self._remote_jobs
        worker = RemoteJobWorker(remote_jobs, scheduler, worker_processes=worker_processes, assistant=assistant)
        self._failures.append(worker.failures)
        return worker
