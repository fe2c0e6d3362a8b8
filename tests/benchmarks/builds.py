"""One `luigi_sshjob.build` of many jobs in a process of its own; prints what it has cost as JSON."""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import luigi
import luigi.interface
import luigi.scheduler

import luigi_sshjob
import luigi_sshjob.config
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.worker.local_scheduler import LocalScheduler

from benchmarks.local import cpu_time, used_cpu
from support import processes
from support.sample_tasks import Chatty, Nothing, Reader, Sleeper

SCHEDULERS = {"luigi": luigi.scheduler.Scheduler, "ours": LocalScheduler}
_TASKS = {kind.__name__: kind for kind in (Sleeper, Reader, Chatty, Nothing)}
_STAMP = re.compile(r"said at ([0-9.]+)")


class SchedulerTime:
    """The processor time of Luigi's scheduler, for one thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def measure(self, kind: type) -> None:
        """Count the calls of its public methods."""
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                setattr(kind, name, self._counted(method))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            if self._inside:
                return method(*args, **options)
            self._inside, begin = True, time.thread_time()
            try:
                return method(*args, **options)
            finally:
                self._inside = False
                self.seconds += time.thread_time() - begin

        return counted


class Delays(logging.Handler):
    """Seconds between the writing of a line by a job and its arrival in Luigi's log."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = _STAMP.search(record.getMessage())
        if said:
            self.seconds.append(time.time() - float(said[1]))


class LuigiAlone(luigi.interface._WorkerSchedulerFactory):
    """Luigi's worker, with a scheduler of this class."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def create_local_scheduler(self) -> Any:
        if self._kind is LocalScheduler:
            return LocalScheduler()
        return super().create_local_scheduler()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", nargs="+", required=True)
    for name in ("folder", "notes"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seconds", type=int, default=9)
    parser.add_argument("--tasks", choices=list(_TASKS), default="Sleeper")
    parser.add_argument("--scheduler", choices=list(SCHEDULERS), help="run them with Luigi's worker and this one")
    arguments = parser.parse_args()
    kind = _TASKS[arguments.tasks]
    tasks = [
        kind(arguments.host[number % len(arguments.host)], arguments.folder, arguments.notes, number, arguments.seconds)
        for number in range(arguments.count)
    ]
    delays, scheduler_time, requests = Delays(), SchedulerTime(), _count_requests()
    logging.getLogger("luigi-interface").addHandler(delays)
    options = {"local_scheduler": True, "no_lock": True, "log_level": "INFO"}
    begin, cpu = time.monotonic(), _cpu()
    if arguments.scheduler:
        scheduler = SCHEDULERS[arguments.scheduler]
        scheduler_time.measure(scheduler)
        succeeded = luigi.build(tasks, worker_scheduler_factory=LuigiAlone(scheduler), **options)
    else:
        succeeded = luigi_sshjob.build(tasks, remote_jobs=arguments.count, **options)
    result = {
        "wall": time.monotonic() - begin,
        "cpu": _cpu() - cpu,
        "scheduler": scheduler_time.seconds,
        "delays": delays.seconds,
        "requests": next(requests),
    }
    print(json.dumps(result))
    return 0 if succeeded else 1


def _count_requests() -> Iterator[int]:
    """Returns the counter; those that watch jobs are not counted."""
    counter = itertools.count()
    call = Connection.request

    def counted(*args: Any, **options: Any) -> Any:
        next(counter)
        return call(*args, **options)

    setattr(Connection, "request", counted)  # noqa: B010
    return counter


def _cpu() -> float:
    """Processor time of this process, and of the ssh clients with its connections."""
    own = sum(used_cpu(resource.getrusage(who)) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    runtime_dir = luigi_sshjob.config.get_settings().runtime_dir
    # the one that holds the connection has another title: ssh: PATH [mux]
    clients = [one for one in processes.running() if one.args.startswith("ssh") and runtime_dir in one.args]
    return own + sum(cpu_time(one.pid) for one in clients)


if __name__ == "__main__":
    sys.exit(main())
