"""The log arrives whole."""

from __future__ import annotations

import hashlib

import pytest

from support.settings import both_transports


@pytest.mark.core
@both_transports
def test_the_whole_log_arrives_also_the_megabytes_right_before_the_end(bench):
    job = bench.submit('head -c 20000000 /dev/urandom | tee "$SSHJOB_DIR/copy"').job
    seen = hashlib.sha256()
    outcome = bench.monitor.wait(job, lambda observation: seen.update(observation.log))
    assert outcome.log_bytes == 20_000_000
    copy = bench.host.run("sha256sum", f"{job.directory}/copy").split()[0]
    assert seen.hexdigest() == copy


@both_transports
def test_a_hundred_megabytes_of_log_arrive_byte_by_byte(bench):
    megabytes = 100
    job = bench.submit(f"head -c {megabytes - 1}000000 /dev/urandom; sleep 0.1; head -c 1000000 /dev/urandom").job
    seen, size = hashlib.sha256(), 0

    def watch(observation) -> None:
        nonlocal size
        seen.update(observation.log)
        size += len(observation.log)

    outcome = bench.monitor.wait(job, watch)
    assert outcome.log_bytes == size == megabytes * 1_000_000
    assert seen.hexdigest() == bench.host.run("sha256sum", f"{job.directory}/log").split()[0]
