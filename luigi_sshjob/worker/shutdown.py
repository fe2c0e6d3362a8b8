"""Cancels the jobs of a worker that is terminated, on all hosts at the same time and within seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from luigi_sshjob.errors import LocalResourceError, SSHJobError
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.starting import start_thread
from luigi_sshjob.worker.job_runner import JobRunner

logger = logging.getLogger("luigi-interface")


def log_left(runners: Sequence[JobRunner]) -> None:
    """Logs which of the jobs keep running without this worker."""
    left = [runner.ref.id for runner in runners if runner.ref and not runner.cancel_on_exit]
    if left:
        names = f"{left[0]} keeps" if len(left) == 1 else f"{len(left)} jobs keep"
        text = "%s running: run the same tasks again to attach, or end them with `luigi-sshjob kill`"
        logger.warning(text, names)


def cancel_all(runners: Sequence[JobRunner], timeout: float) -> bool:
    """Cancels jobs and collects their outcomes. Returns whether all have ended within `timeout` seconds."""
    if not runners:
        return True
    deadline = time.monotonic() + timeout
    by_connection: dict[Connection, list[JobRunner]] = {}
    for runner in runners:
        by_connection.setdefault(runner.connection, []).append(runner)
    done: list[Connection] = []

    def cancel(connection: Connection, runners: Sequence[JobRunner]) -> None:
        if _cancel_on_host(connection, runners, deadline):
            done.append(connection)

    threads = []
    for host in by_connection.items():
        try:
            threads.append(start_thread(cancel, *host))
        except LocalResourceError:
            cancel(*host)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return len(done) == len(by_connection)


def _cancel_on_host(connection: Connection, runners: Sequence[JobRunner], deadline: float) -> bool:
    # a submission in progress is waited for, as its job has to be cancelled too
    unsettled = [runner for runner in runners if not runner.wait_for_step(max(0.0, (deadline - time.monotonic()) / 4))]
    jobs = [(runner.ref, runner.kill_grace) for runner in runners if runner.ref]
    logger.info("%s: cancelling %d jobs, because their worker ends", connection.host, len(jobs))
    try:
        return not cancel_jobs(connection, jobs, deadline) and not unsettled
    except SSHJobError as error:
        logger.warning("the jobs were not cancelled: %s", error)
        return False
