"""The handle of an attempt."""

from __future__ import annotations

import time

from luigi_sshjob import RemoteContext
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.tasks.job import Job

from support import processes


def test_a_tail_is_the_current_end_of_the_log_and_never_all_of_it(bench):
    command = (
        "yes 0123456789 | head -c 3000000; printf 'x\\n%s\\n' \"$(yes y | head -c 40000 | tr -d '\\n')\"; echo end"
    )
    ref = bench.submit(f"{command}; sleep 100").job
    processes.wait_until(lambda: bench.client.tail(ref, 1, 10) == b"end\n", "the log")
    context = RemoteContext(bench.host.alias)
    jobs = HostJobs(context.connection, bench.base)
    job = Job(ref, context, jobs, jobs.retry())
    assert job.tail(2) == ["…" + "y" * 1999, "end"]
    assert job.tail(400)[0] == "0123456789"
    assert len(bench.client.tail(ref, 500, 1 << 17)) < 1 << 17
    assert len(bench.client.tail(ref, 500, 1000)) == 1000


def test_the_running_time_is_measured_by_the_host(bench):
    begin = time.monotonic()
    ref = bench.submit("sleep 100").job
    told: list[int] = []

    def two_seconds() -> bool:
        told.append(bench.client.status(ref).running_for or 0)
        return told[-1] >= 2

    processes.wait_until(two_seconds, "two seconds there")
    # of either clock's seconds one may have just begun
    assert told[-1] <= time.monotonic() - begin + 2
