"""A Luigi worker that runs hundreds of remote jobs in one process."""

from luigi_sshjob.worker.factory import WorkerSchedulerFactory, build, run

__all__ = ["WorkerSchedulerFactory", "build", "run"]
