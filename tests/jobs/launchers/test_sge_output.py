"""What is read from the output of Grid Engine, as recorded by support/sge_recorder.py; no engine is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from luigi_sshjob.jobs.launchers.scheduler import Answer, Phase, Refusal, SchedulerRow, Submitted, Unreadable
from luigi_sshjob.jobs.launchers.sge import SGE

from support import recordings

RECORDED = {path.stem: recordings.read(path) for path in (Path(__file__).parent / "recorded" / "sge").glob("*.txt")}
WAITING, RUNNING, ENDING, OVER = Phase.WAITING, Phase.RUNNING, Phase.ENDING, Phase.OVER


def recorded(file, name):
    """The ids and the answer of a section."""
    ids, *answer = RECORDED[file][name]
    return ids, Answer(*answer)


def by_name(rows, ids):
    """The rows with the names of the recorder in place of numbers."""
    names = {number: name for name, number in ids.items()}
    return {names[job] + dot + task: row for row in rows for job, dot, task in [row.id.partition(".")] if job in names}


FINAL = {
    "bad_account", "bad_binding", "bad_concurrency", "bad_date", "bad_jobshare", "bad_memory", "bad_priority",
    "bad_slots", "bad_time", "deadline", "enforce_project", "high_priority", "master_queue", "no_access_to_queue",
    "no_slots", "no_value", "slots_as_resource", "unknown_option", "unknown_pe", "unknown_project", "unknown_queue",
    "unknown_reservation", "unknown_resource", "unsuitable", "user_lists",
}  # fmt: skip
TRANSIENT = {
    "bad_name", "max_jobs", "max_u_jobs", "no_qmaster", "no_root", "no_script", "no_submit_host", "too_many_tasks",
    "unknown_host",
}  # fmt: skip


def test_a_submission_has_an_id_or_is_refused():
    ids = {name: SGE.submitted_id(recorded("submit", name)[1]) for name in RECORDED["submit"]}
    assert {name: found for name, found in ids.items() if found} == {"single": "1", "array": "2"}
    refused = {name: SGE.refusal(recorded("submit", name)[1]) for name, found in ids.items() if not found}
    assert {name for name, refusal in refused.items() if refusal is Refusal.FINAL} == FINAL
    assert {name for name, refusal in refused.items() if refusal is Refusal.TRANSIENT} == TRANSIENT


@pytest.mark.parametrize(
    ("stdout", "found"),
    [
        ('qsub: warning: "-r" option has already been set, overriding previous setting\n33\n', "33"),
        ("12.1-3:1\n", "12"),
        ("12.1-3\n", None),
        ("job 12\n", None),
        ("-12\n", None),
        ("0\n", None),
        ("Your job 12 has been submitted\n", None),
    ],
)
def test_only_a_whole_id_on_its_line_counts(stdout, found):
    assert SGE.submitted_id(Answer(1, stdout, "error")) == found


def test_a_refusal_that_was_cut_off_is_not_final():
    assert SGE.refusal(Answer(None, "", 'unknown queue "a"')) is Refusal.TRANSIENT


def test_the_listing_has_every_state():
    ids, answer = recorded("listing", "jobs")
    rows = by_name(SGE.parse_listing(answer), ids)
    assert {name: (row.phase, row.state, row.reason, row.hopeless) for name, row in rows.items()} == {
        "waits": (WAITING, "qw", "", False),
        "held": (WAITING, "hqw", "it is on hold", False),
        "runs": (RUNNING, "r", "", False),
        "suspended": (RUNNING, "s", "it is suspended", False),
        "deleted": (ENDING, "dr", "it is being deleted", False),
        "error": (WAITING, "Eqw", "", True),
        "errors.1": (WAITING, "Eqw", "", True),
        "errors.2": (WAITING, "Eqw", "", True),
        "array.3": (RUNNING, "r", "", False),
        "array.4": (RUNNING, "r", "", False),
        "array.5": (WAITING, "qw", "", False),
        "array.6": (WAITING, "qw", "", False),
        "again": (RUNNING, "Rr", "", False),
        "later": (WAITING, "qw", "", False),
        "after": (WAITING, "hqw", "it is on hold", False),
    }
    assert {row.nodes for row in rows.values() if row.phase is WAITING} == {""}
    assert {row.nodes for row in rows.values() if row.phase is not WAITING} <= {"c1", "c2"}
    assert rows["runs"].nodes
    assert rows["runs"].name == f"j.{'k' * 150}.1.4711"


def test_an_empty_listing_is_one():
    assert SGE.parse_listing(recorded("listing", "empty")[1]) == []


def test_options_of_the_account_do_not_change_what_is_listed():
    rows = SGE.parse_listing(recorded("listing", "other_options")[1])
    assert {row.id: (row.phase, row.state, row.name) for row in rows} == {
        row.id: (row.phase, row.state, row.name) for row in SGE.parse_listing(recorded("listing", "jobs")[1])
    }


@pytest.mark.parametrize("name", ["details_instead", "bad_option", "no_qmaster"])
def test_another_answer_is_no_listing(name):
    with pytest.raises(Unreadable):
        SGE.parse_listing(recorded("listing", name)[1])


def test_a_part_of_a_listing_is_unreadable():
    whole = recorded("listing", "jobs")[1].stdout.rstrip()
    for length in range(0, len(whole), 97):
        with pytest.raises(Unreadable):
            SGE.parse_listing(Answer(0, whole[:length]))
    for broken in (whole.replace("<state>r</state>", ""), whole.replace("<tasks>4</tasks>", "<tasks>x</tasks>")):
        with pytest.raises(Unreadable):
            SGE.parse_listing(Answer(0, broken))
    with pytest.raises(Unreadable, match="no response in time"):
        SGE.parse_listing(Answer(None, whole))


def test_grouped_tasks_are_listed_one_by_one():
    whole = recorded("listing", "jobs")[1].stdout.replace("<tasks>4</tasks>", "<tasks>4,8-12:2,20</tasks>")
    rows = [row.id for row in SGE.parse_listing(Answer(0, whole)) if row.state == "r" and "." in row.id]
    array = recorded("listing", "jobs")[0]["array"]
    assert sorted(rows) == sorted(f"{array}.{task}" for task in (3, 4, 8, 10, 12, 20))


def query(name, *wanted):
    """What is known about jobs, by the names of the recorder."""
    ids, answer = recorded("query", name)
    numbers = {text: ids.get(job, job) + dot + task for text in wanted for job, dot, task in [str(text).partition(".")]}
    known = SGE.parse_query(answer, list(numbers.values()))
    return {text: known[number] for text, number in numbers.items() if number in known}


def test_a_query_denies_only_what_does_not_exist():
    assert query("unknown", 999999) == {999999: None}
    assert query("deleted", "deleted") == {"deleted": None}
    several = query("several", "waits", 999998, "runs", 999999)
    assert (several[999998], several[999999]) == (None, None)
    assert (several["waits"].phase, several["runs"].phase) == (WAITING, RUNNING)


def test_a_query_has_the_reason():
    assert "(-l mem_free=1000000G) cannot run at host" in query("waits", "waits")["waits"].reason
    row = query("error", "error")["error"]
    assert row.reason.endswith("error: can't chdir to /nosuch: No such file or directory")
    assert row.hopeless


def test_an_element_is_denied_if_others_of_its_job_are_listed_without_it():
    names = [f"array.{task}" for task in range(1, 8)]
    known = query("elements", *names, "errors.2", "999999.1")
    assert {name: row and row.phase for name, row in known.items()} == {
        "array.1": None,
        "array.2": None,
        "array.3": RUNNING,
        "array.4": RUNNING,
        "array.5": WAITING,
        "array.6": WAITING,
        "array.7": None,
        "errors.2": WAITING,
        "999999.1": None,
    }
    assert "can't chdir" in known["errors.2"].reason


def test_a_listing_that_hides_jobs_denies_none():
    assert query("filtered", "runs", "array.1", "array.4", 999999) == {999999: None}


def test_a_job_that_is_known_but_not_listed_is_not_denied():
    ids, answer = recorded("query", "several")
    details, _, _ = answer.stdout.partition("<?xml")
    empty = recorded("listing", "empty")[1].stdout
    assert SGE.parse_query(Answer(0, details + empty), [ids["waits"], f"{ids['runs']}.1", "999998"]) == {"999998": None}


def test_a_query_without_a_response_says_nothing():
    with pytest.raises(Unreadable, match="unable to send message to qmaster"):
        query("no_qmaster", 999999)
    with pytest.raises(Unreadable):
        SGE.parse_query(Answer(None, ""), ["1"])
    # the id may have been 12
    with pytest.raises(Unreadable):
        SGE.parse_query(Answer(None, "Following jobs do not exist: \n1"), ["1"])
    assert SGE.parse_query(Answer(1, "Following jobs do not exist: \n1"), ["1", "2"]) == {"1": None}


def history(name):
    ids, answer = recorded("history", name)
    return by_name(SGE.parse_history(answer), ids)


@pytest.mark.parametrize(
    ("name", "state", "outcome", "finished"),
    [
        ("done", "exit 0", "lost", True),
        ("failed", "exit 3", "lost", True),
        ("signal", "failed 100", "killed", False),
        ("limit", "failed 37", "timed_out", False),
        ("warned", "failed 37", "timed_out", False),
        ("deleted", "failed 100", "killed", False),
        ("ignored", "failed 100", "killed", False),
        ("again", "exit 0", "lost", True),
    ],
)
def test_the_accounting_knows_how_a_job_ended(name, state, outcome, finished):
    (row,) = history(name).values()
    assert (row.phase, row.state, row.outcome, row.finished) == (OVER, state, outcome, finished)
    assert row.name == f"j.{name}.1.4711"
    assert row.nodes in ("c1", "c2")


def test_a_record_of_the_accounting_is_explained():
    assert history("limit")["limit"].reason == (
        "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit; exit status 137                  (Killed)"
    )


@pytest.mark.parametrize("name", ["exit99", "exit100"])
def test_a_job_that_runs_again_or_is_held_has_not_ended(name):
    assert history(name) == {}


def test_the_accounting_has_elements_and_may_lack_jobs():
    assert {name: row.state for name, row in history("array").items()} == {"array.1": "exit 1", "array.2": "exit 2"}
    assert set(history("several")) == {"done", "array.1", "array.2"}
    assert history("unknown") == {}
    assert history("waits") == {}


def test_an_accounting_that_cannot_be_read_says_nothing():
    with pytest.raises(Unreadable, match="No such file"):
        history("no_accounting")
    with pytest.raises(Unreadable):
        SGE.parse_history(Answer(None, recorded("history", "done")[1].stdout))


def test_a_memory_limit_is_no_time_limit():
    ids, answer = recorded("history", "limit")
    text = answer.stdout.replace("-l h_rt=2", "-l h_rt=3600,h_vmem=1G")
    assert SGE.parse_history(Answer(0, text))[0].outcome == "killed"
    assert SGE.parse_history(Answer(0, answer.stdout))[0].id == ids["limit"]


def test_a_job_is_recognized_by_its_name():
    single = Submitted("Key_1.x/2", "/base/Key_1.x/2", "123")
    row = SchedulerRow("7", RUNNING, "r", name="j.Key_1.x.2.123")
    assert SGE.is_from(row, single)
    assert not SGE.is_from(row, Submitted("Key_1.x/2", "/other/Key_1.x/2", "124"))
    assert not SGE.is_from(SchedulerRow("7.1", RUNNING, "r", name="j.Key_1.x.2.123"), single)
    third = Submitted("Key/1+4.1700000000", "/base/Key/1", "5", index=2)
    rows = [SchedulerRow(f"7.{task}", RUNNING, "r", name="j.Key.1+4.1700000000.5") for task in range(1, 6)]
    assert [SGE.is_from(row, third) for row in rows] == [False, False, True, False, False]
    assert SGE.element("7", third.index) == rows[2].id
