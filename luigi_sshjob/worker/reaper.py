"""One small process that outlives a killed worker for a moment, to cancel the jobs that are to end with it.

A job in the hands of a worker that is ended in good order is cancelled by that worker (farewell.py); SIGKILL gives
nobody that chance. The guard is only started for tasks whose `on_worker_exit` is "cancel".
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

from luigi_sshjob.errors import ConnectionFailed, SSHJobError
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.targets.context import RemoteContext

logger = logging.getLogger("luigi-interface")

_GLANCE = 1.0  # seconds between two looks at whether the worker lives


@dataclasses.dataclass(frozen=True)
class JobLease:
    """What is needed to find the job of a task, also one that is only being submitted."""

    host: str
    options: tuple[tuple[str, Any], ...]
    base_dir: str
    launcher: str
    key: str
    grace: float


class Reaper:
    """The worker's side. All of it is for one thread."""

    def __init__(self) -> None:
        self._pipe: Pipe | None = None
        self._pid = 0

    def watch(self, charge: JobLease) -> None:
        """If the worker is killed from now on, the job is cancelled."""
        sent = _for_another_process(charge)
        if sent != charge:
            logger.warning(
                "%s on %s: its password comes from a function that no other process can be given, so it may go on "
                "where this worker is killed with -9; a function of a module could be given",
                *(charge.key, charge.host),
            )
        if self._pipe is None:
            theirs, self._pipe = multiprocessing.Pipe(duplex=False)
            # not a Process of multiprocessing: those are ended, or waited for, when the worker ends
            self._pid = os.fork()
            if self._pid == 0:
                self._pipe.close()
                _serve(theirs)
            theirs.close()
        self._say((True, sent))

    def leave(self, charge: JobLease) -> None:
        """The job has ended, or is nobody's any more."""
        self._say((False, _for_another_process(charge)))

    def dismiss(self, *, jobs_left: bool) -> None:
        """The worker ends in good order; where there are `jobs_left` they are for the guard to end."""
        if self._pipe:
            self._say(jobs_left)
            self._pipe.close()
            self._pipe = None
            if not jobs_left:
                os.waitpid(self._pid, 0)

    def _say(self, word: object) -> None:
        if self._pipe:
            # a guard that was killed is missed by nobody but a worker that is killed too
            with contextlib.suppress(OSError):
                self._pipe.send(word)


def _for_another_process(charge: JobLease) -> JobLease:
    """Without a function that only this process has."""
    try:
        pickle.dumps(charge.options)
    except Exception:  # whatever comes out of the objects in it
        return dataclasses.replace(charge, options=tuple(pair for pair in charge.options if pair[0] != "password"))
    return charge


def _serve(pipe: Pipe) -> None:
    # what ends the worker, a terminal's Ctrl-C or a service manager, says it to all: it is the worker that decides
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        charges = _listen(pipe, os.getppid())
        if charges:
            logger.warning("cancelling %d jobs that are to end with their worker", len(charges))
            _cancel(charges)
            close_shells()
    finally:
        os._exit(0)


def _listen(pipe: Pipe, worker: int) -> list[JobLease]:
    """Until the worker is gone: what it has left behind."""
    charges: dict[JobLease, None] = {}
    # processes of local tasks may have a copy of the pipe's other end: it can stay open when the worker is gone
    while True:
        try:
            word = pipe.recv() if pipe.poll(_GLANCE) else ()
        except (EOFError, OSError):
            return list(charges)
        if isinstance(word, bool):
            return list(charges) if word else []
        if word:
            watched, charge = word
            if watched:
                charges[charge] = None
            else:
                charges.pop(charge, None)
        elif os.getppid() != worker:
            return list(charges)


def _cancel(charges: list[JobLease]) -> None:
    by_host: dict[RemoteContext, list[tuple[JobRef, float]]] = {}
    silent: set[RemoteContext] = set()
    for charge in charges:
        context = RemoteContext(charge.host, **dict(charge.options))
        if context in silent:
            continue
        jobs = HostJobs(context.connection, charge.base_dir, get_launcher(charge.launcher))
        try:
            job = jobs.brief_retry().call(partial(jobs.client.latest, charge.key))
        except SSHJobError as error:
            if isinstance(error, ConnectionFailed):
                silent.add(context)
            logger.warning("a job was not cancelled: %s", error)
            continue
        if job:
            by_host.setdefault(context, []).append((job, charge.grace))
    for context, found in by_host.items():
        deadline = time.monotonic() + context.connection.settings.request_timeout + max(grace for _, grace in found)
        try:
            cancel_jobs(context.connection, found, deadline)
        except SSHJobError as error:
            logger.warning("the jobs were not cancelled: %s", error)
