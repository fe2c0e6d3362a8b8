"""What the launcher for HTCondor makes of options, and of what the commands have printed.

`python -m support.record_htcondor` has recorded it from HTCondor 23.9.6 of Debian 13.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.htcondor import HTCONDOR
from luigi_sshjob.jobs.launchers.scheduler import Answer, Phase, Refusal, SchedulerRow, Submitted, Unreadable

from support.launch_lines import submit_line

RECORDED = Path(__file__).parent / "recorded" / "htcondor"
TOTALS = "\n\n-- Schedd: two@login : <10.0.0.1:9618?... @ 11/28/26 13:29:00\nTotal for query: 0 jobs; 0 completed\n"
EVICTED = "The job attribute PeriodicRemove expression '(NumJobStarts >= 1 && JobStatus == 1)' evaluated to TRUE"


def recorded(name: str) -> Answer:
    status, _, text = (RECORDED / f"{name}.txt").read_text().partition("\n-- stdout\n")
    stdout, _, stderr = text.partition("-- stderr\n")
    return Answer(int(status.removeprefix("status ")), stdout, stderr)


def listed(name: str) -> dict[str, SchedulerRow]:
    """Rows by the name of the job, without attempt and tag."""
    return {row.name.partition("/")[0]: row for row in HTCONDOR.parse_listing(recorded(name))}


def ended(name: str) -> SchedulerRow:
    (row,) = HTCONDOR.parse_history(recorded(f"history_{name}"))
    return row


def lines(**options: object) -> list[str]:
    """The description's lines that come from the options."""
    line = submit_line(HTCONDOR.launch(LaunchOptions(**options)))
    return shlex.split(line.partition("printf '%s\\n' '")[2].partition(' "batch_name')[0].join("' "))


class TestSubmission:
    """The answers of condor_submit."""

    def test_a_single_job_and_a_cluster_have_their_ids(self):
        assert HTCONDOR.submitted_id(recorded("submit_single")) == "login#1.0"
        assert HTCONDOR.submitted_id(recorded("submit_array")) == "login#4"
        assert HTCONDOR.element("login#4", 2) == "login#4.2"

    @pytest.mark.parametrize(
        "stdout", ["", "1.0 - ", "1.0 - 1.0", "12.0 - 1", "1.0 - 2.0\n", "x1.0 - 1.0\n", "1.3 - 1.3\n"]
    )
    def test_only_a_whole_id_counts(self, stdout):
        assert HTCONDOR.submitted_id(Answer(0, TOTALS + stdout)) is None

    def test_an_id_counts_whatever_the_exit_status_and_other_lines(self):
        assert HTCONDOR.submitted_id(Answer(1, f"{TOTALS}Welcome\n5.0 - 5.0\nbye", "WARNING")) == "two@login#5.0"
        assert HTCONDOR.submitted_id(Answer(None, f"{TOTALS}5.0 - 5.9\n")) == "two@login#5"

    def test_a_misspelt_command_is_a_warning(self):
        answer = recorded("submit_unknown_command")
        assert HTCONDOR.submitted_id(answer)
        assert "was unused by condor_submit" in answer.message

    @pytest.mark.parametrize("name", ["requirements", "policy", "priority", "accounting_group", "attribute", "newline"])
    def test_errors_in_the_options_are_final(self, name):
        answer = recorded(f"submit_{name}")
        assert HTCONDOR.submitted_id(answer) is None
        assert HTCONDOR.refusal(answer) is Refusal.FINAL

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("per_owner", "Number of submitted jobs would exceed MAX_JOBS_PER_OWNER"),
            ("per_submission", "Number of submitted jobs would exceed MAX_JOBS_PER_SUBMISSION"),
            ("site_requirement", "priority must be below 100"),
            ("no_base", "No such directory: /nowhere"),
            ("truncated", "Reached end of file"),
            ("schedd_down", "Can't find address for schedd login"),
            ("schedd_killed", "Failed to fetch ads"),
        ],
    )
    def test_all_other_refusals_may_pass(self, name, words):
        answer = recorded(f"submit_{name}")
        assert HTCONDOR.submitted_id(answer) is None
        assert HTCONDOR.refusal(answer) is Refusal.TRANSIENT
        assert words in answer.message

    def test_a_refused_cluster_leaves_no_jobs(self):
        assert len(listed("listing_after_limit")) == 1
        assert len(HTCONDOR.parse_listing(recorded("listing_after_limit"))) == 2


class TestListing:
    """The answers of condor_q."""

    def test_an_empty_queue_is_an_answer(self):
        assert HTCONDOR.parse_listing(recorded("listing_empty")) == []

    def test_states(self):
        rows = listed("listing_states")
        assert {name: (row.phase, row.state, row.hopeless) for name, row in rows.items()} == {
            "idle": (Phase.WAITING, "Idle", False),
            "other": (Phase.WAITING, "Idle", False),
            "held": (Phase.WAITING, "Held", True),
            "running": (Phase.RUNNING, "Running", False),
            "blind": (Phase.WAITING, "Held", True),
        }
        assert rows["idle"].reason == "no match found"
        assert rows["running"].nodes == "c1"

    def test_suspended_and_removed(self):
        assert listed("query_suspended")["running"].phase is Phase.RUNNING
        row = listed("query_removed")["slow"]
        assert (row.phase, row.state, row.reason) == (Phase.ENDING, "Removed", "via condor_rm (by user job)")

    def test_reasons_for_a_hold(self):
        assert (
            'Cannot access initial working directory "/opt/submit machine only"'
            in listed("listing_states")["blind"].reason
        )
        assert listed("query_held_user")["held"].reason == "submitted on hold at user's request"
        assert listed("query_held_reason")["running"].reason == "wait a moment (by user job)"
        assert "SYSTEM_PERIODIC_HOLD expression 'JobPrio == 8'" in listed("query_held_site")["site_hold"].reason

    def test_a_job_whose_machine_is_lost_runs_until_its_lease_has_expired(self):
        row = listed("query_reconnecting")["lost"]
        assert (row.phase, row.reason) == (Phase.RUNNING, "no connection to the machine")

    def test_an_evicted_job_waits_and_starts_again_only_with_requeue(self):
        rows = listed("query_evicted")
        assert {(row.phase, row.reason) for row in rows.values()} == {(Phase.WAITING, "evicted")}
        rows = listed("query_requeued")
        assert (rows["once"].phase, rows["twice"].phase) == (Phase.WAITING, Phase.RUNNING)

    def test_elements_are_found_by_name_tag_and_number(self):
        rows = HTCONDOR.parse_listing(recorded("listing_running_array"))
        array = [row for row in rows if row.name.startswith("array/")]
        assert len(array) == 3
        found = [
            [row.id for row in rows if HTCONDOR.is_from(row, Submitted("array/1+2.123", "/x", "4711", index))]
            for index in range(3)
        ]
        assert found == [["login#4.0"], ["login#4.1"], ["login#4.2"]]
        assert not any(HTCONDOR.is_from(row, Submitted("array/1+2.123", "/x", "4712", 0)) for row in rows)
        assert not any(HTCONDOR.is_from(row, Submitted("array/1", "/x", "4711", 0)) for row in rows)
        single = Submitted("unknown_command/1", "/x", "4711")
        assert [row.id for row in rows if HTCONDOR.is_from(row, single)] == ["login#5.0"]

    def test_a_denial_is_explicit(self):
        assert HTCONDOR.parse_query(recorded("query_unknown"), ["login#99999.0"]) == {"login#99999.0": None}
        assert HTCONDOR.parse_query(recorded("query_ended"), ["login#1.0"]) == {"login#1.0": None}
        mixed = HTCONDOR.parse_query(recorded("query_mixed"), ["login#4.1", "login#99999.0"])
        assert mixed["login#4.1"]
        assert mixed["login#99999.0"] is None
        (row,) = HTCONDOR.parse_listing(recorded("query_after_restart"))
        assert row.phase is Phase.RUNNING

    def test_only_the_own_schedd_can_deny_a_job(self):
        assert HTCONDOR.parse_query(recorded("query_other_schedd"), ["elsewhere#99999.0"]) == {}
        assert HTCONDOR.parse_query(recorded("query_running"), ["elsewhere#9.0"]) == {}

    @pytest.mark.parametrize(
        "name", [path.stem for path in sorted(RECORDED.glob("*_schedd_*")) if not path.stem.startswith("history")]
    )
    def test_a_schedd_that_is_away_says_nothing(self, name):
        with pytest.raises(Unreadable, match=r"schedd|SECMAN"):
            HTCONDOR.parse_query(recorded(name), ["login#1.0"])

    def test_a_part_of_an_answer_says_nothing(self):
        stdout = recorded("query_running").stdout
        for cut in range(stdout.index(" jobs; ") + len(" jobs; ")):
            with pytest.raises(Unreadable):
                HTCONDOR.parse_query(Answer(0, stdout[:cut]), ["login#9.0"])

    @pytest.mark.parametrize(
        "stdout", ["", "\n", "[\n]\n", "{}" + TOTALS, "null" + TOTALS, "[1]" + TOTALS, "[{}]" + TOTALS, "oops" + TOTALS]
    )
    def test_neither_does_an_answer_without_totals_or_with_other_text(self, stdout):
        with pytest.raises(Unreadable):
            HTCONDOR.parse_listing(Answer(0, stdout))

    def test_neither_does_a_command_that_has_failed(self):
        for status in (1, None):
            with pytest.raises(Unreadable):
                HTCONDOR.parse_listing(Answer(status, recorded("listing_states").stdout))

    def test_neither_do_fewer_jobs_than_the_schedd_counts(self):
        totals = recorded("listing_states").stdout.rpartition("]\n")[2]
        with pytest.raises(Unreadable, match="0 of 5 jobs"):
            HTCONDOR.parse_listing(Answer(0, totals))

    def test_an_unknown_state_means_that_the_job_is_known(self):
        stdout = '[{"GlobalJobId": "x#1.0#17", "JobStatus": 9}]' + TOTALS
        assert HTCONDOR.parse_listing(Answer(0, stdout))[0].phase is Phase.RUNNING


class TestHistory:
    """The answers of condor_history."""

    def test_ends(self):
        ends = {name: ended(name) for name in ("exit0", "exit3", "signal", "removed_idle", "removed_running")}
        assert {row.phase for row in ends.values()} == {Phase.OVER}
        assert {name: (row.state, row.finished, row.outcome) for name, row in ends.items()} == {
            "exit0": ("Completed", True, "lost"),
            "exit3": ("Completed", True, "lost"),
            "signal": ("Completed", False, "killed"),
            "removed_idle": ("Removed", False, "cancelled"),
            "removed_running": ("Removed", False, "cancelled"),
        }
        assert ends["signal"].reason == "died on signal 9 (Killed)"
        assert ends["exit0"].nodes == "c1"

    def test_who_removed_it_and_why(self):
        assert ended("removed_running").reason == "via condor_rm (by user job)"
        assert ended("removed_reason").reason == "not needed (by user job)"
        assert ended("removed_site").outcome == "killed"
        assert "SYSTEM_PERIODIC_REMOVE" in ended("removed_site").reason

    def test_an_evicted_job_is_lost_without_its_record(self):
        for name, state in (("evicted", "EVICTED"), ("lost_machine", "Removed")):
            row = ended(name)
            assert (row.outcome, row.finished, row.state, row.reason) == ("lost", False, state, EVICTED)

    def test_a_second_start_that_was_allowed_has_a_record(self):
        assert ended("requeued").finished
        stdout = recorded("history_requeued").stdout.replace('"SshjobRequeue": true', '"SshjobRequeue": false')
        (row,) = HTCONDOR.parse_history(Answer(0, stdout))
        assert (row.finished, row.reason) == (False, "evicted, and started again")

    def test_what_is_not_there(self):
        assert HTCONDOR.parse_history(recorded("history_unknown")) == []
        assert [row.id for row in HTCONDOR.parse_history(recorded("history_mixed"))] == ["login#1.0", "login#2.0"]
        for answer in (Answer(0, ""), Answer(1, "[\n]\n"), Answer(None, "[\n]\n"), Answer(0, "[\n{")):
            with pytest.raises(Unreadable):
                HTCONDOR.parse_history(answer)


class TestOptions:
    """Submit commands of a task."""

    def test_values_are_written_as_they_are(self):
        given = lines(
            options={
                "Request_CPUs": 4,
                "request_memory": "8G",
                "+Project": '"it\'s $HOME"',
                "nice_user": True,
                "rank": None,
            }
        )
        assert [line for line in given if "=" in line][2:6] == [
            "request_cpus = 4",
            "request_memory = 8G",
            '+Project = "it\'s $HOME"',
            "nice_user = True",
        ]

    def test_a_job_is_started_once_unless_the_task_says_so(self):
        once = lines(options={"requirements": "A || B", "periodic_remove": "C"})
        assert "requirements = (A || B) && (MY.NumJobStarts =?= undefined || MY.NumJobStarts == 0)" in once
        assert "periodic_remove = (C) || (NumJobStarts >= 1 && JobStatus == 1)" in once
        again = lines(options={"requirements": "A || B", "requeue": True})
        assert "requirements = A || B" in again
        assert not any(line.startswith("periodic_remove") for line in again)
        assert [HTCONDOR.launch(LaunchOptions({"requeue": wish})).requeue for wish in (True, False, None)] == [
            *(True, False, False)
        ]

    def test_the_grace_becomes_the_time_for_vacating(self):
        assert "job_max_vacate_time = 31" in lines(kill_grace=20.5)
        assert "job_max_vacate_time = 91" in lines(kill_grace=20.5, warning=60)
        assert "allowed_execute_duration = 90" in lines(options={"allowed_execute_duration": timedelta(seconds=89.5)})

    def test_the_environment_is_named_unless_the_task_does_so(self):
        assert "getenv = PATH, HOME, USER, LOGNAME, SHELL, LANG, TZ" in lines()
        assert [line for line in lines(options={"getenv": "HOME"}) if "getenv" in line] == ["getenv = HOME"]

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "executable",
                "Executable",
                "ARGUMENTS",
                "args",
                "initialdir",
                "output",
                "error",
                "input",
                "log",
                "queue",
                "universe",
                "include",
                "if",
            ),
            *("should_transfer_files", "transfer_input_files", "transfer_executable", "max_retries", "max_materialize"),
            *(
                "batch_name",
                "on_exit_hold",
                "leave_in_queue",
                "noop_job",
                "kill_sig",
                "remove_kill_sig",
                "job_max_vacate_time",
            ),
            *(
                "+Iwd",
                "My.Cmd",
                "+JobBatchName",
                "+SshjobName",
                "+Requirements",
                "+PeriodicRemove",
                "+LeaveJobInQueue",
                "+JobMaxRetries",
            ),
        ],
    )
    def test_what_the_package_sets_is_refused(self, name):
        with pytest.raises(ConfigurationError, match="cannot be set for a job"):
            lines(options={name: "x"})

    @pytest.mark.parametrize(
        "name", ["", "a b", "a=b", "a\nb", "-x", "+", "++x", 3, "x@", "$(x)", "ümlaut", "my.", "a:"]
    )
    def test_invalid_names(self, name):
        with pytest.raises(ConfigurationError, match="invalid name"):
            lines(options={name: "x"})

    @pytest.mark.parametrize("value", ["", " ", "a\nqueue 9", "a\r", "a\0", "a\\", ["x"], b"x", {}])
    def test_invalid_values(self, value):
        with pytest.raises(ConfigurationError, match="invalid value"):
            lines(options={"rank": value})

    @pytest.mark.parametrize(
        "value", ["$(Process)", "$$(Cpus)", "$ENV(HOME)", "$$([Cpus])", "$$[x]", "a$RANDOM_INTEGER(1,2)"]
    )
    def test_macros_are_refused(self, value):
        with pytest.raises(ConfigurationError, match="a macro"):
            lines(options={"rank": value})
        assert 'requirements = regexp("^n[0-9]$", Machine)' in lines(
            options={"requirements": 'regexp("^n[0-9]$", Machine)', "requeue": True}
        )

    def test_options_are_a_dict(self):
        with pytest.raises(ConfigurationError, match="must be a dict"):
            HTCONDOR.launch(LaunchOptions(["x"]))  # type: ignore[arg-type]


class TestDescription:
    """What the shell line writes for condor_submit."""

    def description(self, tmp_path: Path, *directories: str, base: str = "/base", shell: str = "sh") -> str:
        for command, text in (("condor_submit", "cat"), ("condor_q", ":")):
            (tmp_path / command).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / command).chmod(0o755)
        line = submit_line(HTCONDOR.launch(LaunchOptions()))
        variables = {"base": base, "name": "KEY/1", "tag": "4711", "PATH": f"{tmp_path}:/usr/bin:/bin"}
        words = ("/l/entry", "/l", "022", HTCONDOR.job_id, HTCONDOR.index, "it's", "one", *directories)
        return subprocess.run(
            [shell, "-c", line, shell, *words], env=variables, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    @pytest.mark.parametrize("shell", ["sh", "bash"])
    def test_arguments_are_quoted(self, tmp_path, shell):
        if not shutil.which(shell):
            pytest.skip(f"no {shell}")
        text = self.description(tmp_path, "/a b  ", '/it\'s "$(x)" ü', base="/b $HOME", shell=shell)
        assert "initialdir = /b $(DOLLAR)HOME\n" in text
        assert "\narguments = \"'/l/entry' '/l' '022' '$(DOLLAR)(sed -n ''s/^GlobalJobId = \"\"" in text
        assert " '0' 'it''s' 'one' $(directory)\"\n" in text
        assert text.endswith("\nqueue directory from (\n'/a b  '\n'/it''s \"\"$(DOLLAR)(x)\"\" ü'\n)\n")
        assert 'batch_name = KEY/1\n+SshjobName = "KEY/1@4711"\n' in text

    def test_a_newline_in_a_path_is_refused(self, tmp_path):
        assert "queue" not in self.description(tmp_path, "/a\nb")
