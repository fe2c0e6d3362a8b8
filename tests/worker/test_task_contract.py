"""What Luigi promises to a task, with a process for each task and without."""

from __future__ import annotations

import os
import re
import subprocess

import luigi
import luigi.configuration
import pytest
from luigi.execution_summary import LuigiStatusCode

from support import processes
from support.luigi_command import answers, ask, finished
from support.recording_tasks import (
    Batched,
    Dying,
    Dynamic,
    Generous,
    Incomplete,
    Licensed,
    Limited,
    Noted,
    Retried,
    Tracked,
    noted,
)
from support.worker_runs import TASKS, ledger, most_at_once, set_option, together


@pytest.mark.core
def test_events_and_hooks_are_those_of_luigi(build, remote_jobs, some, notes):
    tasks = [some(Noted, 0), some(Noted, 1, "false"), some(Limited, 2, "sleep 120"), some(Dying, 3)]
    result = build(*tasks, workers=4, detailed_summary=True)
    assert result.status is LuigiStatusCode.FAILED
    seen = noted(notes)
    # before Luigi's own worker takes the task of a dead process off its list it may look again, also at one that it
    # has ended itself
    seen[3] = list(dict.fromkeys(seen[3]))
    if remote_jobs is None and seen[2][2:] == ["PROCESS_FAILURE"]:
        seen[2].pop()
    assert seen == {
        0: ["START", "PROCESSING_TIME", "on_success", "SUCCESS"],
        1: ["START", "FAILURE", "on_failure: JobFailed"],
        2: ["START", "TIMEOUT"],
        3: ["START", "PROCESS_FAILURE"],
    }
    assert tasks[2].job.outcome().state == "cancelled"


def test_a_failed_task_is_retried_as_often_as_it_says_then_disabled(build, some, notes):
    set_option("worker", keep_alive="true", wait_interval=0.1, wait_jitter=0)
    set_option("scheduler", retry_delay=0)
    assert build(some(Retried, 0, "false"), workers=2, detailed_summary=True).status is LuigiStatusCode.FAILED
    assert noted(notes)[0] == ["START", "FAILURE", "on_failure: JobFailed"] * 2


def test_no_more_jobs_run_at_once_than_a_resource_allows(build, host, folder, some):
    set_option("resources", licence=2)
    assert build(*(some(Licensed, number, f"{together(2)}; sleep 0.5") for number in range(5)), workers=5)
    assert most_at_once(ledger(host, folder)) == 2


@pytest.mark.core
def test_batched_tasks_are_one_job(build, host, folder):
    tasks = [Batched(host=host.alias, folder=folder, number=number) for number in range(5)]
    result = build(*tasks, workers=2, detailed_summary=True)
    assert ledger(host, folder) == ["4"]
    assert "5 ran successfully" in result.summary_text


def test_a_task_that_is_incomplete_after_its_run_fails_if_luigi_checks_that(build, some, notes):
    set_option("worker", check_complete_on_run="true")
    assert build(some(Incomplete, 0), detailed_summary=True).status is LuigiStatusCode.FAILED
    assert noted(notes)[0] == ["START", "FAILURE", "on_failure: TaskException"]


def test_a_dependency_that_is_missing_at_run_time_fails_the_task_before_it_begins(build, host, folder, some, notes):
    class Dependent(Noted):
        def requires(self):
            return Incomplete(self.host, self.folder, self.notes, self.number + 1)

    set_option("worker", max_reschedules=0)
    assert build(some(Dependent, 0), workers=2, detailed_summary=True).status is LuigiStatusCode.FAILED
    assert noted(notes)[0] == ["FAILURE", "on_failure: RuntimeError"]
    assert ledger(host, folder) == ["+ 1", "-"]


@pytest.mark.core
def test_an_overridden_run_gets_a_process_and_its_dynamic_dependencies(build, some, notes):
    assert build(some(Dynamic, 0), workers=2)
    (said,) = [line for line in noted(notes)[0] if line.startswith("process")]
    assert said.endswith(", True")
    assert said != f"process {os.getpid()}, True"
    assert [noted(notes)[number].count("SUCCESS") for number in range(4)] == [1, 1, 1, 1]


def test_an_externalized_task_is_not_submitted(build, host, folder, some):
    set_option("worker", retry_external_tasks="true")
    build(luigi.task.externalize(some(Noted, 0)), workers=2)
    assert ledger(host, folder) == []


@pytest.fixture
def start(host, folder, notes, luigid, start_luigi):
    """Starts a `luigi` command on one of support/recording_tasks.py, with the scheduler that `ask` asks."""

    def start(kind: type, script: str, *more: str, number: int = 0) -> tuple[luigi.Task, subprocess.Popen]:
        process = start_luigi(
            *(
                "--module",
                TASKS,
                kind.__name__,
                "--host",
                host.alias,
                "--folder",
                folder,
                "--notes",
                str(notes),
            ),
            *("--number", str(number), "--script", script, "--workers", "2", *more),
            *("--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1"),
        )
        return kind(host.alias, folder, str(notes), number, script), process

    return start


def test_a_running_task_can_release_a_resource(luigid, host, folder, start):
    """With what it has at first, two of them could never run at the same time."""
    ask(luigid, "update_resources", licence=3)
    script = f"while [ -d {folder} ] && ! [ -e go ]; do sleep 0.1; done"
    started = []
    for number in (0, 1):
        started.append(start(Generous, script, number=number)[1])
        processes.wait_until(lambda: f"+ {number}" in ledger(host, folder), "the job")  # noqa: B023
    host.run("touch", f"{folder}/go")
    for process in started:
        finished(process)


def test_tracking_url_and_messages_reach_luigid_and_the_task(luigid, start):
    task, process = start(Tracked, "echo '<there>'; echo here; sleep 60")
    processes.wait_until(lambda: "] here" in process.log.read_text(), "the job's first line")
    processes.wait_until(
        lambda: ask(luigid, "task_list", status="RUNNING")[task.task_id]["tracking_url"], "the tracking URL"
    )
    running = ask(luigid, "task_list", status="RUNNING")[task.task_id]
    assert running["tracking_url"] == "http://example.invalid/0"
    # what shows the button for messages
    assert running["accepts_messages"] is True
    wrong = [f"tail {word}" for word in ("0", "501", "-1", "x", "9" * 5000)]
    tail, status, unknown, *refusals = answers(luigid, task.task_id, "Tail 2", "status", "hello", *wrong)
    assert tail == "&lt;there&gt;\nhere"
    assert re.fullmatch(rf"running on {task.host} for \d+ s", status)
    assert re.findall("^  (status|tail|tail N|cancel)   ", unknown, re.M) == ["status", "tail", "tail N", "cancel"]
    for refusal in refusals:
        assert "is not a number of lines from 1 to 500.\nThe whole log:\nluigi-sshjob logs " in refusal
    (end,) = answers(luigid, task.task_id, "cancel")
    assert end.startswith(f"{task.task_id}/1 was cancelled")
    assert "it was cancelled" in finished(process, 30)
