"""A Luigi worker that holds remote jobs in the process that is there, and forks for local tasks as ever.

tests/worker/test_luigi_internals.py lists what this package uses of Luigi's internals.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import luigi
import luigi.interface
import luigi.retcodes

from luigi_sshjob import config
from luigi_sshjob.worker.worker import RemoteJobWorker


def build(tasks: Sequence[luigi.Task], *, workers: int = 1, remote_jobs: int | None = None, **options: Any) -> Any:
    """`luigi.build` with a worker that holds up to `remote_jobs` jobs of `RemoteJobTask`s in this process, and runs up
    to `workers` local tasks in processes of their own. `remote_jobs` is 500 unless `[sshjob]` says otherwise.

    `options` are those of `luigi.build`, and so is what is returned.
    """
    schedulers = options.pop("worker_scheduler_factory", None)
    factory = WorkerSchedulerFactory(remote_jobs, schedulers)
    return luigi.build(tasks, worker_scheduler_factory=factory, workers=workers, **options)


def run(arguments: Sequence[str], remote_jobs: int | None = None) -> None:
    """What the `luigi` command does with its `arguments`, with such a worker. Ends with `SystemExit`, as that does."""
    # with its exit codes it lets nobody choose a factory
    setattr(luigi.interface, "_WorkerSchedulerFactory", functools.partial(WorkerSchedulerFactory, remote_jobs))  # noqa: B010
    luigi.retcodes.run_with_retcodes(list(arguments))


class WorkerSchedulerFactory:
    """For the parameter of that name of `luigi.build` and `luigi.run`. `schedulers` is another factory, for its
    schedulers."""

    def __init__(self, remote_jobs: int | None = None, schedulers: Any = None):
        self._remote_jobs = remote_jobs
        self._schedulers = schedulers or _LUIGIS()

    def create_local_scheduler(self) -> Any:
        """As Luigi calls it."""
        return self._schedulers.create_local_scheduler()

    def create_remote_scheduler(self, url: str) -> Any:
        """As Luigi calls it."""
        return self._schedulers.create_remote_scheduler(url)

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> RemoteJobWorker:
        """As Luigi calls it."""
        remote_jobs = config.get_settings().remote_jobs if self._remote_jobs is None else self._remote_jobs
        return RemoteJobWorker(remote_jobs, scheduler, worker_processes=worker_processes, assistant=assistant)


_LUIGIS = luigi.interface._WorkerSchedulerFactory
