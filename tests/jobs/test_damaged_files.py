"""A file of a job that is enormous delays no news of other jobs."""

from __future__ import annotations

import threading
import time

import pytest

from luigi_sshjob.jobs.model import State
from luigi_sshjob.ssh.connection import close_shells

# read byte by byte, it takes half a minute
ENORMOUS = "head -c 40000000 /dev/zero | tr '\\0' x"


def assert_no_delay(bench, damaged) -> None:
    """While a client waits for the damaged job, another job runs and ends at its usual speed."""
    waiter = threading.Thread(target=bench.monitor.wait, args=(damaged, lambda _: None))
    waiter.start()
    bench.key = "Other"
    for _ in range(3):
        since = time.monotonic()
        assert bench.run("true")[0].succeeded
        assert time.monotonic() - since < 4
    bench.release()
    waiter.join(20)
    assert not waiter.is_alive()
    assert bench.client.status(damaged).outcome.succeeded


def test_an_enormous_progress_file_delays_no_other_job(bench):
    """Its first 4 KiB are the progress."""
    command = f"{ENORMOUS} >$SSHJOB_PROGRESS; touch ~/{bench.folder}-written; {bench.until_released()}"
    job = bench.submit(command).job
    bench.wait_for_file(f"{bench.host.home}/{bench.folder}-written")
    assert bench.client.status(job).progress == "x" * 4096
    assert_no_delay(bench, job)
    bench.host.run("rm", f"{bench.host.home}/{bench.folder}-written")


@pytest.mark.parametrize("name", ["identity", "exit_record", "supervisor.log", "digests", "cancel_requested"])
def test_an_enormous_record_file_delays_no_other_job(bench, name):
    """What was written to it before counts."""
    job = bench.submit("true" if name == "exit_record" else bench.until_released()).job
    bench.wait_for_file(f"{job.directory}/{'exit_record' if name == 'exit_record' else 'identity'}")
    bench.host.run("sh", "-c", f"{ENORMOUS} >>{job.directory}/{name}")
    # the next session has not seen the file when it was small
    close_shells()
    state = bench.client.status(job).state
    assert state is (State.ENDED if name == "exit_record" else State.RUNNING)
    assert_no_delay(bench, job)
    since = time.monotonic()
    assert job.id in [each.job.id for each in bench.listing.attempts()]
    assert time.monotonic() - since < 10
