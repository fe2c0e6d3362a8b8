"""A process that cancels jobs if the worker is killed.

A worker that ends in any other way cancels its jobs (shutdown.py); SIGKILL leaves it no chance. The process is started
for the first task whose `on_worker_exit` is "cancel".
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pickle
import signal
import time
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Any

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConnectionFailed, SSHJobError
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.tasks.options import JobOptions

logger = logging.getLogger("luigi-interface")

_CHECK_INTERVAL = 1.0  # seconds between two checks whether the worker is alive


@dataclasses.dataclass(frozen=True)
class JobLease:
    """What another process needs to find the job of a task, even one that is still being submitted."""

    context: RemoteContext
    base_dir: str
    launcher: str
    key: str
    kill_grace: float

    @classmethod
    def of(cls, options: JobOptions, key: str) -> JobLease:
        """The lease for the job of this key."""
        return cls(options.context, options.base_dir, options.launcher.name, key, options.kill_grace)

    def without_password(self) -> JobLease:
        """An equal lease whose context has no password function."""
        options = {name: value for name, value in self.context.options.items() if name != "password"}
        return dataclasses.replace(self, context=RemoteContext(self.context.host, **options))

    def find_job(self) -> JobRef | None:
        """The newest attempt. Raises `SSHJobError`."""
        jobs = HostJobs(self.context.connection, self.base_dir, get_launcher(self.launcher))
        return jobs.brief_retry().call(partial(jobs.client.find, self.key))


class Reaper:
    """The worker's side of the process. Not thread-safe."""

    def __init__(self) -> None:
        self._pipe: Pipe | None = None
        self._pid = 0

    def watch(self, lease: JobLease) -> None:
        """Has the job cancelled if the worker is killed from now on."""
        if not _is_picklable(lease):
            logger.warning(
                "%s on %s: its password function cannot be pickled, so the job may keep running if this worker is "
                "killed with SIGKILL; use a function that a module defines",
                *(lease.key, lease.context.host),
            )
            lease = lease.without_password()
        if self._pipe is None:
            self._start()
        self._send("watch", lease)

    def _start(self) -> None:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        doing = "starting the process that cancels jobs if this worker is killed"
        with translate_os_errors(doing), receiver, contextlib.ExitStack() as failed:
            failed.enter_context(sender)
            # not a multiprocessing.Process, because those are terminated or joined when the worker ends
            self._pid = os.fork()
            if self._pid == 0:
                sender.close()
                _serve(receiver)
            failed.pop_all()
        self._pipe = sender

    def release(self, lease: JobLease) -> None:
        """Leaves the job alone from now on."""
        self._send("release", lease.without_password())

    def stop(self, *, cancel_jobs: bool) -> None:
        """Ends the process, which before that cancels the jobs that are left if `cancel_jobs` is true."""
        if self._pipe:
            self._send("stop", cancel_jobs)
            self._pipe.close()
            self._pipe = None
            if not cancel_jobs:
                os.waitpid(self._pid, 0)

    def _send(self, command: str, argument: object) -> None:
        if self._pipe:
            # without the process nothing is lost unless the worker is killed, too
            with contextlib.suppress(OSError):
                self._pipe.send((command, argument))


def _is_picklable(lease: JobLease) -> bool:
    try:
        pickle.dumps(lease)
    except Exception:  # noqa: BLE001 - users' objects may raise anything
        return False
    return True


def _serve(pipe: Pipe) -> None:
    # a terminal or a service manager sends these signals to all processes; the worker decides what to do
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        leases = _receive_leases(pipe, os.getppid())
        if leases:
            logger.warning("cancelling %d jobs because their worker has ended", len(leases))
            _cancel(leases)
            close_shells()
    finally:
        os._exit(0)


def _receive_leases(pipe: Pipe, worker: int) -> list[JobLease]:
    """Waits for the end of the worker; returns the leases of the jobs to be cancelled."""
    leases: dict[JobLease, None] = {}
    command: str
    argument: Any
    # processes of local tasks may hold a copy of the other end, so it may stay open when the worker has ended
    while True:
        try:
            command, argument = pipe.recv() if pipe.poll(_CHECK_INTERVAL) else ("check", None)
        except (EOFError, OSError):
            return list(leases)
        if command == "watch":
            leases[argument] = None
        elif command == "release":
            leases.pop(argument, None)
        elif command == "stop":
            return list(leases) if argument else []
        elif os.getppid() != worker:
            return list(leases)


def _cancel(leases: list[JobLease]) -> None:
    by_host: dict[RemoteContext, list[tuple[JobRef, float]]] = {}
    unreachable: set[RemoteContext] = set()
    for lease in leases:
        if lease.context in unreachable:
            continue
        try:
            job = lease.find_job()
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                unreachable.add(lease.context)
            logger.warning("the job was not cancelled: %s", error)
            continue
        if job:
            by_host.setdefault(lease.context, []).append((job, lease.kill_grace))
    for context, jobs in by_host.items():
        deadline = time.monotonic() + context.connection.settings.request_timeout + max(grace for _, grace in jobs)
        try:
            cancel_jobs(context.connection, jobs, deadline)
        except SSHJobError as error:
            logger.warning("the jobs were not cancelled: %s", error)
