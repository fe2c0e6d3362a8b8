"""What is read from the output of Slurm, as recorded by support/record_slurm.py; no cluster is needed."""

from __future__ import annotations

import fnmatch
import subprocess
from pathlib import Path

import pytest

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.scheduler import Answer, Phase, Refusal, Submitted, Unreadable
from luigi_sshjob.jobs.launchers.slurm import SLURM

from support import recordings
from support.launch_lines import submit_line

FOLDER = Path(__file__).parent / "recorded" / "slurm"
VERSIONS = ("22.05", "24.11")
RECORDED = {
    version: {path.stem: recordings.read(path) for path in (FOLDER / version).glob("*.txt")} for version in VERSIONS
}
DIRECTORY = "/home/job/a | b"
WAITING, RUNNING, ENDING, OVER = Phase.WAITING, Phase.RUNNING, Phase.ENDING, Phase.OVER

both = pytest.mark.parametrize("version", VERSIONS)


def recorded(version, file, name):
    """The ids and the answer of a section."""
    ids, *answer = RECORDED[version][file][name]
    return ids, Answer(*answer)


def by_name(rows, ids):
    """The rows with the names of the recorder in place of numbers."""
    names = {number: name for name, number in ids.items()}
    parts = [(row, row.id.partition("_")) for row in rows]
    return {names[job] + dash + index: row for row, (job, dash, index) in parts if job in names}


def listing(version, name):
    ids, answer = recorded(version, "listing", name)
    return by_name(SLURM.parse_listing(answer), ids)


def query(version, name, *wanted):
    ids, answer = recorded(version, "query", name)
    numbers = {
        ids.get(job, job) + dash + index: job + dash + index for job, dash, index in (w.partition("_") for w in wanted)
    }
    return {numbers[number]: row and row.state for number, row in SLURM.parse_query(answer, list(numbers)).items()}


def elements(name, *indices):
    return [f"{name}_{index}" for index in indices]


FINAL = {
    "ambiguous_option", "begin", "constraint", "dependency", "ends_with_another_status", "gres", "license", "mail_type",
    "memory", "missing_value", "needless_value", "nice", "no_nodes", "node", "option", "partition",
    "partition_of_the_account", "past_deadline", "prefer", "reservation", "tasks", "time", "too_much_memory",
}  # fmt: skip
TRANSIENT = {
    "drained", "no_munged", "no_script", "no_slurmctld", "plugin", "too_many_elements", "too_many_jobs",
}  # fmt: skip
FINAL_OF = {
    "22.05": {"group"},
    "24.11": {"account", "foreign_account", "foreign_qos", "qos", "qos_of_the_account", "too_many_cpus",
              "too_many_nodes", "elsewhere"},
}  # fmt: skip
TRANSIENT_OF = {
    "22.05": set(),
    "24.11": {"association_array", "association_full", "association_full_array", "group_limit", "qos_limit_array",
              "qos_limit_full", "qos_limit_full_array"},
}  # fmt: skip


@both
def test_a_submission_has_an_id_or_is_refused(version):
    answers = {name: recorded(version, "submit", name)[1] for name in RECORDED[version]["submit"]}
    ids = {name: found for name, answer in answers.items() if (found := SLURM.submitted_id(answer))}
    assert {ids["single"], ids["array"]} == {"1", "2"}
    assert int(ids["lines_before"]) < 1000
    refused = {name: SLURM.refusal(answer) for name, answer in answers.items() if name not in ids}
    assert {name for name, refusal in refused.items() if refusal is Refusal.FINAL} == FINAL | FINAL_OF[version]
    assert {name for name, refusal in refused.items() if refusal is Refusal.TRANSIENT} == TRANSIENT | TRANSIENT_OF[
        version
    ]


@pytest.mark.parametrize(
    ("stdout", "found"),
    [
        ("12\n", "12"),
        ("welcome\n11\n12\nbye\n", "12"),
        ("12", None),
        ("12;other\n", None),
        ("012\n", None),
        ("12 \n", None),
        ("Submitted batch job 12\n", None),
        ("", None),
    ],
)
def test_only_a_whole_line_with_a_number_is_an_id(stdout, found):
    assert SLURM.submitted_id(Answer(0, stdout)) == found
    assert SLURM.submitted_id(Answer(None, stdout)) == found
    assert SLURM.submitted_id(Answer(137, stdout, "sbatch: error: Invalid partition name specified")) == found


def test_a_job_that_went_to_another_cluster_is_cancelled_there_and_refused():
    _, answer = recorded("24.11", "submit", "elsewhere")
    assert answer.stdout == "1;other\n"
    assert answer.message == "sbatch sent the job to the cluster other, where it was cancelled; 1;other"
    assert recorded("24.11", "cancel", "elsewhere")[1].stdout == "1 CANCELLED elsewhere/1\n"


def test_the_submit_line_prints_what_sbatch_prints_at_once_and_passes_words_on(tmp_path):
    (tmp_path / "sbatch").write_text('#!/bin/sh\nprintf "[%s]" "$@" >&2\nprintf "%s\\n" "a \\\\b" 12\nexit 3\n')
    (tmp_path / "sbatch").chmod(0o755)
    line = submit_line(SLURM.launch(LaunchOptions({"comment": "it's $x"})))

    def run(last):
        script = f"name=k/1 directory='/a b' last={last}; set -- /entry 'x y'; {line}"
        return subprocess.run(
            ["sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )

    ours = "[--parsable][--job-name=k/1][--chdir=/a b][--output=/dev/null]"
    rest = "[--signal=B:USR1@20][--no-requeue][--comment=it's $x][/entry][x y]sbatch: exit status 3\n"
    assert [run("").stdout, run("").stderr] == ["a \\b\n12\n", ours + rest]
    assert run("4").stderr == f"{ours}[--array=0-4]{rest}"


@both
def test_every_state_of_a_listing_has_a_phase(version):
    rows = listing(version, "jobs")
    phases = {name: row.phase for name, row in rows.items()}
    waiting = {"requeued", "special", "held_again", "held", "later", "never", "too_long", "off", "others", "resources"}
    waiting |= {"after", "array_7"} | ({"root_only"} if version == "24.11" else set())
    running = {"timeout", "runs", "hidden", "suspended", *elements("array", 3, 4)} | ({"nodes"} & rows.keys())
    over = {"done", "failed", "killed", "cancelled", "preempted", "gone", *elements("array", 0, 1, 2)}
    assert {name for name, phase in phases.items() if phase is WAITING} == waiting
    assert {name for name, phase in phases.items() if phase is RUNNING} == running
    assert {name for name, phase in phases.items() if phase is ENDING} == {"completing"}
    assert {name for name, phase in phases.items() if phase is OVER} == over
    assert {name for name, row in rows.items() if row.finished} == {"done", *elements("array", 0, 1)}
    outcomes = {name: rows[name].outcome for name in ("failed", "killed", "cancelled", "preempted", "gone")}
    assert list(outcomes.values()) == ["lost", "lost", "cancelled", "killed", "cancelled"]


@both
def test_a_row_has_what_people_want_to_know(version):
    rows = listing(version, "jobs")
    assert (rows["runs"].name, rows["runs"].nodes, rows["runs"].reason) == (f"{'k' * 150}/1", "c1", "")
    assert {row.directory for row in rows.values()} == {DIRECTORY}
    assert (rows["later"].reason, rows["later"].start) == ("BeginTime", "2030-01-01T00:00:00")
    assert (rows["held"].reason, rows["held"].start) == ("JobHeldUser", "")
    assert rows["failed"].reason == "NonZeroExitCode"
    assert rows["gone"].reason == ""


@both
def test_a_job_that_waits_for_something_that_will_not_happen_is_hopeless(version):
    rows = listing(version, "jobs") | listing(version, "launch_failed")
    hopeless = {"special", "held_again", "held", "never", "too_long", "others"}
    hopeless |= {"root_only"} & rows.keys()
    assert {name for name, row in rows.items() if row.hopeless} == hopeless | {"again"}


@both
def test_ends_that_only_slurm_reports(version):
    assert listing(version, "node_fail")["node"].outcome == "lost"
    timeout = listing(version, "node_fail").get("timeout") or listing(version, "timeout")["timeout"]
    assert (timeout.outcome, timeout.state) == ("timed_out", "TIMEOUT")


@both
def test_a_refused_submission_that_slurm_lists_is_not_the_job(version):
    rows = SLURM.parse_listing(recorded(version, "listing", "jobs")[1])
    (refused,) = [row for row in rows if row.name == "refused/1"]
    assert not SLURM.is_from(refused, Submitted("refused/1", DIRECTORY, "1"))


@both
def test_a_submission_is_found_by_name_and_directory(version):
    rows = listing(version, "jobs")
    array = "array/1+7.1700000000"
    assert SLURM.is_from(rows["held"], Submitted("held/1", DIRECTORY, "1"))
    assert not SLURM.is_from(rows["held"], Submitted("held/1", "/home/job/a", "1"))
    assert not SLURM.is_from(rows["held"], Submitted("held/1", DIRECTORY, "1", 0))
    assert [SLURM.is_from(rows["array_7"], Submitted(array, DIRECTORY, "1", index)) for index in (7, 6)] == [
        True,
        False,
    ]
    assert rows["array_7"].id == SLURM.element(rows["array_7"].id.partition("_")[0], 7)


@both
@pytest.mark.parametrize("name", ["no_slurmctld", "no_munged"])
def test_no_answer_says_nothing(version, name):
    _, answer = recorded(version, "listing", name)
    for parse in (SLURM.parse_listing, lambda answer: SLURM.parse_query(answer, ["1", "999999"])):
        with pytest.raises(Unreadable):
            parse(answer)
    with pytest.raises(Unreadable):
        SLURM.parse_query(recorded(version, "query", name)[1], ["1", "999999"])
    with pytest.raises(Unreadable):
        SLURM.parse_history(recorded(version, "history", "no_munged")[1])


def test_a_listing_that_is_not_whole_is_not_read():
    row = f"12|RUNNING|2026-11-28T13:32:48|c1|a/1|{DIRECTORY}|//|None\n"
    assert [found.id for found in SLURM.parse_listing(Answer(0, f"banner\n{row}12+0|x\n", "a warning"))] == ["12"]
    assert SLURM.parse_listing(Answer(0)) == []
    for answer in (Answer(1, row), Answer(None, row), Answer(0, "", "squeue: error: x")):
        with pytest.raises(Unreadable):
            SLURM.parse_listing(answer)


def test_a_reason_and_a_directory_may_contain_the_separator():
    reason = "uid 1000 not in group permitted to use this partition (a). groups allowed: root|admins"
    (row,) = SLURM.parse_listing(Answer(0, f"12|PENDING|N/A||a/1|/x|y/ z|//|{reason}\n"))
    assert (row.directory, row.reason, row.hopeless) == ("/x|y/ z", reason, True)


@both
def test_only_an_explicit_denial_counts(version):
    assert query(version, "runs", "runs") == {"runs": "RUNNING"}
    assert query(version, "unknown", "999999") == {"999999": None}
    assert query(version, "unknown_element", "999999_3") == {"999999_3": None}
    assert query(version, "several", "runs", "999999", "held", "999998_1") == {
        "runs": "RUNNING",
        "held": "PENDING",
        **dict.fromkeys(("999999", "999998_1")),
    }
    # squeue prints nothing about several unknown jobs, and nothing about an unknown element
    for name in ("squeue_unknown", "squeue_element", "squeue_single"):
        with pytest.raises(Unreadable):
            query(version, name, "999999")
    with pytest.raises(Unreadable):
        SLURM.parse_query(Answer(0, "job 12\nsqueue: error: Invalid job id: 12\nstatus 1\n"), ["12"])
    with pytest.raises(Unreadable):
        SLURM.parse_query(Answer(0, "job 12\n\nstatus 0\n"), ["12"])
    with pytest.raises(Unreadable):
        SLURM.parse_query(Answer(None, "job 12\nslurm_load_jobs error: Invalid job id specified\n"), ["12"])


def test_a_query_that_fails_half_way_is_read_as_far_as_it_got():
    text = "job 12\nslurm_load_jobs error: Invalid job id specified\nstatus 1\njob 13\nsqueue: error: x\nstatus 1\n"
    assert SLURM.parse_query(Answer(0, text), ["12", "13", "14"]) == {"12": None}


@both
def test_elements_are_known_by_the_answer_about_their_array(version):
    assert query(version, "elements", *elements("array", *range(9))) == {
        **dict.fromkeys(elements("array", 0, 1), "COMPLETED"),
        **dict.fromkeys(elements("array", 3, 4), "RUNNING"),
        "array_2": "CANCELLED",
        "array_7": "PENDING",
        # 5 and 6 were cancelled while they waited, which leaves no trace; there was no 8
        **dict.fromkeys(elements("array", 5, 6, 8)),
    }


@both
def test_an_array_that_was_cancelled_as_a_whole_is_over(version):
    known = query(version, "cancelled_array", *elements("array", *range(9)))
    assert known == dict.fromkeys(elements("array", *range(9)), "CANCELLED")


@both
def test_elements_are_forgotten_one_by_one(version):
    wanted = ["done", *elements("array", 0, 1, 2, 3), *elements("last", 0, 1, 2)]
    assert query(version, "purged", *wanted) == {
        **dict.fromkeys(["done", *elements("array", 0, 1), "last_1"]),
        **dict.fromkeys([*elements("array", 2, 3), "last_0"], "RUNNING"),
        "last_2": "COMPLETED",
    }


def test_without_accounting_there_is_no_history():
    with pytest.raises(Unreadable, match="accounting storage is disabled"):
        SLURM.parse_history(recorded("22.05", "history", "jobs")[1])
    with pytest.raises(Unreadable):
        SLURM.parse_history(recorded("24.11", "history", "no_slurmdbd")[1])


def test_the_history_knows_who_cancelled_a_job():
    ids, answer = recorded("24.11", "history", "jobs")
    rows = by_name(SLURM.parse_history(answer), ids)
    assert (rows["held"].state, rows["held"].reason, rows["held"].outcome) == ("CANCELLED", "by user 1000", "cancelled")
    assert (rows["failed"].reason, rows["killed"].reason) == ("exit code 3:0", "exit code 0:9")
    assert (rows["done"].phase, rows["done"].finished, rows["done"].nodes, rows["done"].reason) == (
        OVER,
        True,
        "c1",
        "",
    )
    assert rows["requeued"].phase is RUNNING
    assert rows["later"].phase is WAITING
    assert {rows[name].directory for name in rows} == {DIRECTORY}


def test_the_history_has_elements_that_never_ran():
    ids, answer = recorded("24.11", "history", "cancelled_array")
    rows = by_name(SLURM.parse_history(answer), ids)
    assert {name: row.state for name, row in rows.items()} == dict.fromkeys(elements("array", *range(9)), "CANCELLED")
    (row, *_), (other, *_) = (
        SLURM.parse_history(Answer(0, f"66_[{text}]|CANCELLED by 1000|None|None assigned|a/1|0:0|/x\n"))
        for text in ("0-2,5%1", "4-8:2,...")
    )
    assert (row.id, other.id, row.nodes, row.start) == ("66_0", "66_4", "", "")


def test_a_history_of_unknown_jobs_is_empty():
    assert SLURM.parse_history(recorded("24.11", "history", "unknown")[1]) == []


def test_a_job_on_another_cluster_of_the_federation_is_not_over():
    (row,) = listing("24.11", "federated").values()
    assert (row.state, row.phase) == ("REVOKED", RUNNING)
    assert "another cluster" in row.reason
    assert query("24.11", "federated", "federated") == {"federated": "REVOKED"}
    assert listing("24.11", "federated_ended")["federated"].phase is RUNNING


@both
def test_the_exit_status_of_scancel_says_nothing_about_the_job(version):
    answers = {
        name: recorded(version, "cancel", f"cancel_{name}")[1] for name in ("unknown", "done", "running", "purged")
    }
    assert {answer.status for answer in answers.values()} == {0}
    assert recorded(version, "cancel", "cancel_no_slurmctld")[1].status != 0


def test_variables_that_change_an_answer_are_dropped_and_defaults_for_jobs_are_not():
    def dropped(names):
        return {name for name in names if any(fnmatch.fnmatchcase(name, made) for made in SLURM.dropped_variables)}

    # each of these changed an answer or a job of both versions
    harmful = {"SBATCH_ARRAY_INX", "SBATCH_WAIT", "SBATCH_CLUSTERS", "SBATCH_DEBUG", "SBATCH_ERROR", "SBATCH_INPUT"}
    harmful |= {"SLURM_CLUSTERS", "SLURM_EXIT_ERROR", "SLURM_TIME_FORMAT", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_JOB_ID"}
    harmful |= {"SLURM_RESTART_COUNT", "SQUEUE_PARTITION", "SQUEUE_ACCOUNT", "SQUEUE_NAMES", "SQUEUE_LICENSES"}
    harmful |= {"SQUEUE_QOS", "SCANCEL_STATE", "SCANCEL_ACCOUNT", "SCANCEL_NAME", "SCANCEL_PARTITION", "SCANCEL_USER"}
    assert dropped(harmful) == harmful
    kept = (
        "SBATCH_ACCOUNT",
        "SBATCH_PARTITION",
        "SBATCH_QOS",
        "SBATCH_TIMELIMIT",
        "SBATCH_EXPORT",
        "SLURM_CONF",
        "SLURM_JWT",
    )
    assert dropped(kept) == set()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "12"}, "12 0 0"),
        ({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, "12_0 0 0"),
        (
            {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"},
            "12_3 3 2",
        ),
    ],
)
def test_a_job_knows_itself_on_its_node(variables, expected):
    script = f'echo "{SLURM.job_id} {SLURM.index} {SLURM.restarts}"'
    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"
