"""The rules for a job without an id of its scheduler, without a host and without a scheduler."""

from __future__ import annotations

from luigi_sshjob.jobs.actions import Act
from luigi_sshjob.jobs.model import State

from support.scheduler_story import HEADER, row


def test_a_submission_without_an_answer_is_repeated_only_after_a_later_listing(story):
    story.submission = HEADER
    story.listing()
    assert story.look(submitting="yes").state is State.CLAIMED
    del story.facts["submitting"]
    story.look()
    assert story.acts == []
    story.wait(500)
    assert story.acts == []
    story.listing()
    assert [(action.act, action.number) for action in story.acts] == [(Act.LAUNCH, 1)]


def test_a_submission_without_an_answer_is_adopted_if_a_later_listing_has_it(story):
    story.submission = HEADER
    story.look()
    other = row("PENDING", job_id="66", directory="/other/jobs/Task/1")
    story.listing(other, row("PENDING"))
    assert [(action.act, action.text, action.number) for action in story.acts] == [(Act.ADOPT, "77", 1)]


def refused(story, words, count=1, number=1):
    header = HEADER.replace("number: 1", f"number: {number}").replace("count: 1", f"count: {count}")
    story.submission = f"{header}status: 1\nesbatch: error: {words}\n"
    return story.look()


def test_only_known_words_are_final(story):
    refused(story, "Batch job submission failed: Invalid partition name specified")
    assert story.done == [Act.SETTLE]
    assert "scheduler: REFUSED" in story.acts[-1].text


def test_other_words_are_waited_for_and_shown(story):
    status = refused(story, "Batch job submission failed: Flux capacitor discharged")
    assert (status.state, "Flux capacitor" in status.reason, story.acts) == (State.CLAIMED, True, [])
    story.wait(5)
    # it may have been accepted all the same
    assert story.acts == []
    story.listing()
    assert [(action.act, action.number, action.batch) for action in story.acts] == [(Act.LAUNCH, 1, 0)]
    refused(story, "Batch job submission failed: Flux capacitor discharged", number=4)
    story.wait(39)
    story.listing()
    assert len(story.acts) == 1
    story.wait(2)
    assert story.acts[-1].number == 4


def test_a_submission_that_was_killed_after_its_acceptance_is_adopted(story):
    story.submission = f"{HEADER}status: -\n"
    story.look()
    story.wait(5)
    story.listing(row("PENDING"))
    assert [(action.act, action.text) for action in story.acts] == [(Act.ADOPT, "77")]


def test_a_number_that_is_not_the_id_of_its_job_is_not_followed(story):
    story.look()
    story.listing(row("RUNNING", name="other"))
    assert story.status.state is State.CLAIMED
    for _ in range(5):
        story.wait(20)
        story.denial()
    assert [action.act for action in story.acts] == [Act.LAUNCH] * len(story.acts)


def test_a_job_that_is_listed_under_another_id_than_the_printed_one_is_followed_there(story):
    story.submission = f"{HEADER}status: 0\no77\no4711\n"
    story.listing()
    story.look()
    story.listing(row("PENDING"))
    assert [(action.act, action.text) for action in story.acts] == [(Act.ADOPT, "77")]


def test_an_array_that_is_refused_is_halved_down_to_single_jobs(story):
    for number, (count, batch) in enumerate([(200, 100), (100, 50), (3, 1), (1, 0)], 1):
        refused(story, "Batch job submission failed: Job violates accounting/QOS policy", count, number)
        story.wait(60)
        story.listing()
        assert (story.acts[-1].number, story.acts[-1].batch) == (number, batch)
