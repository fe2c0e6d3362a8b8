"""What has to be true of an attempt before another one of the same run may follow it."""

from __future__ import annotations

import dataclasses
import time

import pytest

from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.previous import OtherPrevious, PreviousAttempt, cause_of
from luigi_sshjob.jobs.spec import JobSpec

from support import processes


def kill(bench, *texts: str) -> None:
    """Kill the processes that have one of the texts in their arguments."""
    found = [str(pid) for pid, args in bench.host.processes() if any(text in args for text in texts)]
    bench.host.run("kill", "-9", *found)


@pytest.mark.parametrize("end", ["killed", "its directory is deleted, too", "cancelled without a supervisor"])
def test_only_a_loss_that_nobody_has_caused_and_that_is_proved_is_a_cause(bench, end):
    job = bench.submit("exec sleep 451").job
    bench.wait_until_running("sleep 451")
    kill(bench, job.directory)
    if end == "cancelled without a supervisor":
        processes.wait_until(lambda: bench.client.status(job).state is State.UNSUPERVISED, "its state")
        outcome = bench.monitor.cancel(job, 0)
    else:
        kill(bench, "sleep 451")
        if end != "killed":
            bench.host.run("rm", "-rf", job.directory)
        outcome = bench.monitor.wait(job, lambda _: None)
    assert outcome.state == "lost"
    assert cause_of(outcome) == ("lost" if end == "killed" else "")


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_an_attempt_has_left_is_ended_before_the_next_one_may_follow(bench, stubborn):
    trap = "trap '' TERM; " * stubborn
    job = bench.submit(f"({trap}sleep 461; sleep 461) & sleep 0.2; kill -9 $$").job
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, bench.running("sleep 461")) == ("killed", True)
    assert bench.client.collect_for_retry(job, 1) == ""
    assert not bench.running("sleep 461")
    # repeated, as after a lost response, or by another run that makes the same retry
    assert bench.client.collect_for_retry(job, 1) == ""


def test_no_other_attempt_follows_one_that_a_person_has_collected_or_removed_or_that_runs(bench):
    job = bench.submit(bench.until_released()).job
    assert bench.client.collect_for_retry(job, 1) == "it has not ended"
    bench.release()
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    assert bench.client.collect_for_retry(job, 1).startswith("it was collected by ")
    bench.listing.discard([job])
    assert bench.client.collect_for_retry(job, 1) == "it was removed"


def retry_of(bench, outcome, attempt: int = 1) -> JobSpec:
    previous = PreviousAttempt(attempt, outcome, "lost", {"lost": 1}, 3)
    return JobSpec(key=bench.key, command=f"echo after {attempt}; exit 3", previous=previous)


def test_a_retry_attaches_to_one_that_another_run_has_made_even_if_that_has_ended_and_was_collected(bench):
    outcome, _ = bench.run("exit 3")
    submitted = bench.client.submit(retry_of(bench, outcome))
    assert (submitted.job.attempt, submitted.attached) == (2, False)
    again = bench.client.submit(retry_of(bench, outcome))
    assert (again.job, again.attached) == (submitted.job, True)
    bench.monitor.wait(submitted.job, lambda _: None)
    bench.client.collect(submitted.job)
    late = bench.client.submit(retry_of(bench, outcome))
    assert (late.job, late.attached) == (submitted.job, True)
    # what a cleanup has removed says nothing of it any more
    bench.client.remove(submitted.job)
    late = bench.client.submit(retry_of(bench, outcome))
    assert (late.job, late.attached) == (submitted.job, True)
    # an ordinary run is a new attempt
    assert bench.submit("true").job.attempt == 3


def test_a_task_that_was_edited_after_its_retry_has_ended_is_run_again(bench):
    outcome, _ = bench.run("exit 3")
    retry = retry_of(bench, outcome)
    bench.monitor.wait(bench.client.submit(retry).job, lambda _: None)
    with pytest.raises(OtherPrevious) as found:
        bench.client.submit(dataclasses.replace(retry, command="echo corrected"))
    assert found.value.previous is None
    assert bench.submit("echo corrected").job.attempt == 3


def test_a_listing_reads_little_of_a_damaged_file(bench):
    job = bench.submit("true").job
    bench.monitor.wait(job, lambda _: None)
    bench.client.collect(job)
    second = bench.submit("true").job
    bench.monitor.wait(second, lambda _: None)
    bench.host.run("sh", "-c", f"head -c 20000000 /dev/zero | tr '\\0' x >>{second.directory}/digests")
    began = time.monotonic()
    assert len(bench.listing.attempts()) == 2
    assert time.monotonic() - began < 5


def test_an_attempt_that_is_another_retry_than_the_one_submitted_says_of_which(bench):
    outcome, _ = bench.run("exit 3")
    spec = retry_of(bench, outcome)
    bench.client.submit(spec)
    for other in (None, retry_of(bench, outcome, 7).previous):
        with pytest.raises(OtherPrevious) as found:
            bench.client.submit(JobSpec(key=bench.key, command="exit 3", previous=other))
        assert found.value.previous == spec.previous
