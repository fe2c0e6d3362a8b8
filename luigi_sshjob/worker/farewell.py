"""The jobs that are to be cancelled when the worker that holds them is told to end: all at once, within seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from luigi_sshjob.control import cancel_many
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.worker.held import HeldJob

logger = logging.getLogger("luigi-interface")


def cancel(jobs: Sequence[HeldJob], seconds: float) -> None:
    """Asks the hosts to end the jobs, waits until they have, and takes that over; what takes longer goes on there."""
    deadline = time.monotonic() + seconds
    by_connection: dict[Connection, list[HeldJob]] = {}
    for job in jobs:
        by_connection.setdefault(job.crew.connection, []).append(job)
    threads = [
        threading.Thread(target=_cancel_there, args=(connection, held, deadline), daemon=True)
        for connection, held in by_connection.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _cancel_there(connection: Connection, held: Sequence[HeldJob], deadline: float) -> None:
    for job in held:
        # one that is being submitted is cancelled too
        job.settled(max(0.0, (deadline - time.monotonic()) / 4))
    jobs = [(job.ref, job.grace) for job in held if job.ref]
    logger.info("%s: cancelling %d jobs, as their worker ends", connection.host, len(jobs))
    try:
        left = cancel_many(connection, jobs, deadline)
    except SSHJobError as error:
        logger.warning("the jobs were not cancelled: %s", error)
        return
    for ref in left:
        logger.warning("%s on %s: asked to end, but it had not when its worker did", ref.id, ref.host)
