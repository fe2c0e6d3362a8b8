"""The order of a listing, the words for states, and times."""

from __future__ import annotations

import time

import pytest

from luigi_sshjob.cli.arguments import states
from luigi_sshjob.cli.render import format_time
from luigi_sshjob.cli.states import STATES, sort_attempts, state_label, summary
from luigi_sshjob.jobs.listing import JobSummary
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome


def attempt(name: str, state: str, since: float = 0, host: str = "box", **outcome: object) -> JobSummary:
    key, _, number = name.partition("/")
    active = state in {each.value for each in State} - {"lost", "ended"}
    status = JobStatus(State(state)) if active else JobStatus(State.ENDED, outcome=Outcome(state, **outcome))
    return JobSummary(JobRef(host, key, int(number), f"/jobs/{name}"), status, since=since)


ATTEMPTS = [
    attempt("Done/1", "succeeded", 10),
    attempt("Active/1", "running", 20),
    attempt("Old/1", "lost", 400),
    attempt("New/1", "failed", 300, host="abacus", exit_code=3),
    attempt("Again/1", "killed", 50, signal="KILL"),
    attempt("Again/2", "queued", 30),
    attempt("Doubt/1", "unknown", 500),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("state", "New Old Doubt Active Again/2 Done Again/1"),
        ("age", "Done Active Again/2 Again/1 New Old Doubt"),
        ("job", "Active Again/1 Again/2 Done Doubt New Old"),
        ("host", "New Old Doubt Active Again/2 Done Again/1"),
    ],
)
def test_failures_that_no_newer_attempt_follows_are_first_unless_sorted_otherwise(by, expected):
    ordered = [each.job.id for each in sort_attempts(ATTEMPTS, by)]
    assert ordered == [name if "/" in name else f"{name}/1" for name in expected.split()]


def test_a_state_is_one_word_and_a_code_and_the_summary_counts_them():
    labels = [state_label(each) for each in ATTEMPTS]
    assert labels == ["succeeded", "running", "lost", "failed 3", "killed KILL", "queued", "unknown"]
    assert state_label(attempt("Late/1", "timed_out", exit_code=143)) == "timed out"
    counts = "1 failed, 1 killed, 1 lost, 1 unknown, 1 running, 1 queued, 1 succeeded"
    assert summary(ATTEMPTS, 7) == f"7 jobs: {counts}"
    assert summary(ATTEMPTS, 502) == f"7 of 502 jobs: {counts}"
    assert (summary(ATTEMPTS[:1], 1), summary([], 3)) == ("1 job: 1 succeeded", "0 of 3 jobs")


def test_each_state_and_outcome_can_be_chosen():
    outcomes = {"succeeded", "failed", "killed", "timed_out", "cancelled", "lost"}
    assert set(STATES) == {each.value for each in State} - {"ended"} | outcomes
    assert states("timed out,timed-out, lost") == ["timed_out", "timed_out", "lost"]


def test_times_are_local_with_their_zone_and_other_text_stays_as_it_is(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        assert format_time("2026-11-30T13:03:22Z") == "2026-11-30 14:03:22 CET"
        assert format_time("2026-06-30T23:03:22Z") == "2026-07-01 01:03:22 CEST"
        for text in ("", "yesterday", "2026-11-30T13:03:22", "9999-12-31T23:59:59Z", "Z"):
            assert format_time(text) == text
    time.tzset()
