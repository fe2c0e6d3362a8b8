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


def test_a_log_that_the_command_truncates_is_not_lost_silently(bench):
    """As by opening /dev/stderr, because it is a file."""
    command = f"echo one; {bench.until_released('echo two >/dev/stderr; echo three')}"
    job = bench.submit(command).job
    seen: list[object] = []

    def watch(status) -> None:
        if status.truncated:
            seen.append("truncated")
        if status.log:
            seen.append(status.log)
            bench.release()

    assert bench.monitor.wait(job, watch).succeeded
    assert seen[:2] == [b"one\n", "truncated"]
    assert b"".join(seen[2:]) == b"two\nthree\n"


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 4096])
def test_a_truncation_is_noticed_whatever_the_sizes(bench, size):
    other = 2 * size
    job = bench.submit(f"printf %{size}s a; {bench.until_released(f'printf %{other}s b >/dev/stderr')}").job
    seen, truncations = bytearray(), 0

    def watch(status) -> None:
        nonlocal truncations
        truncations += status.truncated
        seen.extend(status.log)
        if len(seen) == size:
            bench.release()

    assert bench.monitor.wait(job, watch).succeeded
    assert truncations == 1
    assert bytes(seen) == b"a".rjust(size) + b"b".rjust(other)
