"""The rules by which a scheduler's job is judged, without a host and without a scheduler."""

from __future__ import annotations

import dataclasses

import pytest

from luigi_sshjob.jobs.actions import Act
from luigi_sshjob.jobs.launchers.slurm import SLURM
from luigi_sshjob.jobs.model import JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.previous import cause_of
from luigi_sshjob.jobs.scheduled.facts import parse_facts

from support.scheduler_story import JOB, Story, row


def test_a_job_that_no_listing_has_mentioned_yet_is_queued(story):
    assert story.look().state is State.QUEUED
    assert story.look(started="yes", machine="c1").state is State.RUNNING


def test_a_listing_from_before_the_start_does_not_make_it_requeued(story):
    story.look()
    story.listing(row("PENDING", "Priority", nodes=""))
    status = story.look(started="yes", id="77", machine="c1")
    assert (status.state, status.reason) == (State.RUNNING, "Slurm job 77 on c1")
    assert "requeued" in story.listing(row("PENDING", "BeginTime", nodes="")).reason


def test_an_absence_is_no_proof(story):
    story.look(started="yes", id="77", machine="c1")
    story.listing(row("RUNNING"))
    for _ in range(50):
        story.listing()
        story.wait(60)
    assert story.acts == []
    assert story.status.state is State.UNKNOWN


def lose(story):
    story.look(started="yes", id="77", machine="c1")
    story.listing()
    story.wait(15)
    story.denial()


def test_one_denial_is_not_enough_and_a_second_has_the_job_cancelled_before_it_is_lost(story):
    lose(story)
    assert story.acts == []
    story.wait(2)
    story.denial()
    assert story.done == [Act.CANCEL]
    story.wait(30)
    assert story.done == [Act.CANCEL]
    story.denial()
    assert story.done == [Act.CANCEL, Act.SETTLE]
    assert "outcome: lost\n" in story.acts[-1].text
    assert "Slurm no longer knows job 77" in story.acts[-1].text


def test_denials_within_the_time_of_a_late_record_are_not_enough(story):
    story.look(started="yes", id="77", machine="c1")
    story.listing()
    for _ in range(5):
        story.denial()
    assert story.acts == []


def test_a_growing_log_ends_the_doubt(story):
    lose(story)
    story.look(log=b"alive")
    story.denial()
    story.wait(15)
    assert story.acts == []


def test_an_accounting_that_calls_it_running_ends_the_doubt(story):
    lose(story)
    story.says("history", "77|RUNNING|2026-01-01T00:00:00|c1|Task/1|0:0|/base/jobs/Task/1", ids="77")
    for _ in range(5):
        story.wait(10)
        story.denial()
    assert story.acts == []


def test_an_answer_that_finds_it_alive_ends_the_doubt(story):
    lose(story)
    status = story.says("query", f"job 77\n{row('RUNNING')}\nstatus 0", ids="77")
    assert status.state is State.RUNNING
    story.denial()
    assert story.acts == []


def test_questions_that_fail_prove_nothing(story):
    story.look(started="yes", id="77", machine="c1")
    story.listing()
    for _ in range(9):
        story.wait(20)
        status = story.says("query", "job 77\nslurm_load_jobs error: Unable to contact\nstatus 1", 1, ids="77")
    assert story.acts == []
    assert status.state is State.UNKNOWN


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("y"), RecursionError()])
def test_an_answer_that_no_parser_expects_proves_nothing(story, monkeypatch, error):
    def raises(*_):
        raise error

    story.look(started="yes", id="77", machine="c1")
    monkeypatch.setattr(type(SLURM), "parse_listing", raises)
    status = story.listing()
    assert (status.state, "does not respond: unexpected answer" in status.reason) == (State.RUNNING, True)


def test_a_job_that_has_completed_is_given_time_for_its_record(story):
    story.look(started="yes", id="77", machine="c1")
    story.listing(row("COMPLETED"))
    for _ in range(8):
        story.wait(10)
        story.says("query", f"job 77\n{row('COMPLETED')}\nstatus 0", ids="77")
    assert story.acts == []
    story.wait(10)
    assert story.done == [Act.CANCEL]
    story.says("query", f"job 77\n{row('COMPLETED')}\nstatus 0", ids="77")
    assert story.done == [Act.CANCEL, Act.SETTLE]


def test_a_node_that_does_not_have_the_base_directory_is_named_as_the_cause(story):
    story.look()
    story.listing(row("FAILED", "NonZeroExitCode"))
    for _ in range(4):
        story.wait(13)
        story.says("query", f"job 77\n{row('FAILED', 'NonZeroExitCode')}\nstatus 0", ids="77")
    assert "perhaps because c1 does not have the base directory" in story.acts[-1].text


def test_a_scheduler_that_is_silent_for_long_leaves_nothing_known(story):
    story.look(started="yes", id="77", machine="c1")
    assert story.listing(row("RUNNING")).state is State.RUNNING
    story.wait(100)
    assert story.says("listing", "", 1).state is State.RUNNING
    assert story.wait(30).state is State.UNKNOWN
    assert story.listing(row("RUNNING")).state is State.RUNNING


def test_another_session_counts_its_own_moments(story):
    story.look(started="yes", id="77", machine="c1")
    for _ in range(9):
        story.listing(row("RUNNING"))
    story.session, story.moment = "s2", 0
    assert story.look().reason == "Slurm job 77 on c1"
    assert story.listing(row("PENDING", "Priority", nodes="")).state is State.QUEUED


def test_a_record_that_waits_for_a_reason_is_completed(story):
    story.unsettled = "job: Task/1\noutcome: killed\nreason: the supervisor received SIGTERM\nlog_bytes: 3"
    story.look(started="yes", id="77", unsettled="yes")
    story.listing(row("PREEMPTED"))
    assert story.acts == []
    story.says("query", f"job 77\n{row('PREEMPTED')}\nstatus 0", ids="77")
    record = story.acts[-1].text
    assert (
        "reason: the supervisor received SIGTERM; Slurm reports PREEMPTED for job 77 on c1\nscheduler: PREEMPTED"
        in record
    )


def test_a_record_is_not_kept_waiting_for_ever(story):
    story.unsettled = "job: Task/1\noutcome: killed\nreason: \nlog_bytes: 3"
    story.look(started="yes", id="77", unsettled="yes")
    story.listing()
    story.wait(119)
    assert story.acts == []
    story.wait(2)
    assert [(action.act, action.text) for action in story.acts] == [(Act.SETTLE, story.unsettled)]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_job_that_is_requeued_is_waited_for_although_its_supervisor_left_a_record(story, state):
    story.unsettled = "job: Task/1\noutcome: killed\nreason: \nlog_bytes: 3"
    story.look(started="yes", id="77", unsettled="yes")
    for _ in range(9):
        story.wait(60)
        story.listing(row(state))
    assert story.acts == []
    if state == "RUNNING":
        # nobody says so any more
        story.wait(119)
        assert story.acts == []
        story.wait(121)
        assert story.done == [Act.SETTLE]


def test_a_scheduler_that_is_seldom_asked_is_not_called_silent(monkeypatch):
    story = Story(monkeypatch, interval=300)
    story.look(started="yes", id="77", machine="c1")
    story.listing(row("RUNNING"))
    assert story.wait(800).state is State.RUNNING
    assert story.wait(101).state is State.UNKNOWN


def test_a_scheduler_that_was_not_needed_for_a_while_is_not_called_silent(story):
    story.look()
    story.listing(row("COMPLETED"))
    story.schedulers.forget(JOB)
    story.clock.now += 600
    assert story.look().state is State.QUEUED


def test_an_unknown_scheduler_is_no_reason_to_fail(story):
    facts = parse_facts("scheduler: pbs", "", "", 0)
    status = JobStatus(State.QUEUED, scheduled=dataclasses.replace(facts))
    assert story.schedulers.judge(JOB, status).status.state is State.UNKNOWN


@pytest.mark.parametrize(
    ("state", "outcome", "code", "cause"),
    [
        ("OUT_OF_MEMORY", "killed", "137", "memory"),
        ("PREEMPTED", "killed", "137", "preempted"),
        ("TIMEOUT", "timed_out", "", "timed_out"),
        ("DEADLINE", "timed_out", "", "timed_out"),
        ("BOOT_FAIL", "lost", "", "lost"),
        ("NODE_FAIL", "lost", "", "lost"),
        ("CANCELLED", "cancelled", "143", ""),
    ],
)
def test_a_missing_record_is_written_from_the_state_of_the_scheduler(story, state, outcome, code, cause):
    story.look(started="yes", id="77")
    for _ in range(4):
        story.listing(row(state))
        story.wait(13)
        story.says("query", f"job 77\n{row(state)}\nstatus 0", ids="77")
    record = story.acts[-1].text
    assert f"outcome: {outcome}\nexit_code: {code}\n" in record
    assert f"\nscheduler: {state}" in record
    assert "Slurm reports " + state in record
    # of a retry
    assert cause_of(Outcome.parse(record)) == cause


def test_the_accounting_says_who_cancelled_a_job(story):
    story.look(started="yes", id="77")
    story.listing(row("CANCELLED"))
    story.says("history", "77|CANCELLED by 1000|2026-01-01T00:00:00|c1|Task/1|0:15|/base/jobs/Task/1", ids="77")
    for _ in range(3):
        story.wait(13)
        story.says("query", f"job 77\n{row('CANCELLED')}\nstatus 0", ids="77")
    assert "CANCELLED (by user 1000)" in story.acts[-1].text


def test_another_job_with_the_same_id_does_not_speak_for_it(story):
    story.look()
    story.listing()
    other = row("RUNNING", name="other")
    for _ in range(3):
        story.wait(13)
        story.says("query", f"job 77\n{other}\nstatus 0", ids="77")
    assert story.done == [Act.CANCEL, Act.SETTLE]
