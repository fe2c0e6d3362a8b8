"""The jobs that are to be cancelled when the worker that holds them is told to end: all at once, within seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.jobs.client import cancel_many
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.worker.job_runner import JobRunner

logger = logging.getLogger("luigi-interface")


def cancel(jobs: Sequence[JobRunner], seconds: float) -> bool:
    """Asks the hosts to end the jobs, waits until they have, and takes that over. Says whether all is done."""
    deadline = time.monotonic() + seconds
    by_connection: dict[Connection, list[JobRunner]] = {}
    for job in jobs:
        by_connection.setdefault(job.crew.connection, []).append(job)
    done: list[Connection] = []

    def cancel_there(connection: Connection, held: Sequence[JobRunner]) -> None:
        if _cancel_there(connection, held, deadline):
            done.append(connection)

    threads = [threading.Thread(target=cancel_there, args=there, daemon=True) for there in by_connection.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return len(done) == len(by_connection)


def _cancel_there(connection: Connection, held: Sequence[JobRunner], deadline: float) -> bool:
    # one that is being submitted is cancelled too
    unsettled = [job for job in held if not job.settled(max(0.0, (deadline - time.monotonic()) / 4))]
    jobs = [(job.ref, job.grace) for job in held if job.ref]
    logger.info("%s: cancelling %d jobs, as their worker ends", connection.host, len(jobs))
    try:
        return not cancel_many(connection, jobs, deadline) and not unsettled
    except SSHJobError as error:
        logger.warning("the jobs were not cancelled: %s", error)
        return False
