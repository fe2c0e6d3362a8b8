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
import signal
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any

from luigi_sshjob import config
from luigi_sshjob.context import RemoteContext
from luigi_sshjob.control import JobControl, cancel_many
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.job import JobRef
from luigi_sshjob.launchers import launcher_named
from luigi_sshjob.monitor import Patience

logger = logging.getLogger("luigi-interface")

_GLANCE = 1.0  # seconds between two looks at whether the worker lives


@dataclasses.dataclass(frozen=True)
class Charge:
    """What is needed to find the job of a task, also one that is only being submitted."""

    host: str
    options: tuple[tuple[str, Any], ...]
    base_dir: str
    launcher: str
    key: str
    grace: float


class Guard:
    """The worker's side. All of it is for one thread."""

    def __init__(self) -> None:
        self._pipe: Pipe | None = None

    def watch(self, charge: Charge) -> None:
        """If the worker is killed from now on, the job is cancelled."""
        if self._pipe is None:
            fork = multiprocessing.get_context("fork")
            theirs, self._pipe = fork.Pipe(duplex=False)
            fork.Process(target=_serve, args=(theirs, self._pipe), name="sshjob guard", daemon=True).start()
            theirs.close()
        self._say((True, charge))

    def leave(self, charge: Charge) -> None:
        """The job has ended, or is nobody's any more."""
        self._say((False, charge))

    def dismiss(self) -> None:
        """The worker ends in good order."""
        self._say(None)
        self._pipe = None

    def _say(self, word: object) -> None:
        if self._pipe:
            # a guard that was killed is missed by nobody but a worker that is killed too
            with contextlib.suppress(OSError):
                self._pipe.send(word)


def _serve(pipe: Pipe, workers_end: Pipe) -> None:
    workers_end.close()
    # Ctrl-C at a terminal is for the worker, which says then what is to be done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = os.getppid()
    charges: dict[Charge, None] = {}
    # processes of local tasks may have a copy of the pipe's other end: it can stay open when the worker is gone
    while True:
        try:
            word = pipe.recv() if pipe.poll(_GLANCE) else ()
        except (EOFError, OSError):
            break
        if word is None:
            return
        if word:
            watched, charge = word
            if watched:
                charges[charge] = None
            else:
                charges.pop(charge, None)
        elif os.getppid() != worker:
            break
    if charges:
        logger.warning("the worker was killed: cancelling %d jobs that are to end with it", len(charges))
        _cancel(list(charges))


def _cancel(charges: list[Charge]) -> None:
    patience = Patience(config.settings().request_timeout)
    by_host: dict[RemoteContext, list[tuple[JobRef, float]]] = {}
    try:
        for charge in charges:
            context = RemoteContext(charge.host, **dict(charge.options))
            control = JobControl(context.connection, charge.base_dir, launcher_named(charge.launcher))
            job = patience.with_host(lambda: control.latest(charge.key))  # noqa: B023
            if job and not patience.with_host(lambda: control.look(job)).state.final:  # noqa: B023
                by_host.setdefault(context, []).append((job, charge.grace))
        for context, jobs in by_host.items():
            deadline = time.monotonic() + patience.timeout + max(grace for _, grace in jobs)
            cancel_many(context.connection, jobs, deadline)
    except SSHJobError as error:
        logger.warning("the jobs were not cancelled: %s", error)
