"""The report on failed tasks at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

import luigi
import luigi.interface
import luigi.scheduler
import pytest

import luigi_sshjob
from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.worker.failures import Failures

from support.failing_tasks import Scripted
from support.luigi_command import finished
from support.worker_runs import set_option

TITLE = "===== Failed Tasks ====="


def reported(log: str) -> list[list[str]]:
    """The lines of each entry of the report, which has to be the end of the log."""
    before, report, after = log.split(TITLE)
    # Luigi logs its summary at level INFO
    assert "INFO: " not in before or before.endswith("===== Luigi Execution Summary =====\n\nERROR: \n")
    assert after.strip() == ""
    return [entry.split("\n") for entry in report.strip().split("\n\n")]


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_a_run_ends_with_the_reasons_of_its_failures(host, folder, hold, level):
    scripts = [f"echo sample {number} is empty; exit 4" for number in range(5)]
    parameters = ["--host", host.alias, "--scripts", json.dumps(scripts), "--workers", "2"]
    status = ["--retcode-task-failed", "30", "--log-level", level]
    run = hold("--module", "support.failing_tasks", "Failures", *parameters, *status, "--local-scheduler")
    entries = {entry[0]: entry[1:] for entry in reported(finished(run, 30))}

    names, example, log, next_step = entries.pop(f"* 5 tasks on {host.alias}: failed with exit code 4")
    tasks = [Scripted(host=host.alias, script=script) for script in scripts]
    (first,) = [task for task in tasks if names.startswith(f"    {task}, ")]
    assert sum(str(task) in names for task in tasks) == 3
    assert names.endswith(" and 2 more")
    assert example == f"    for example job {first.task_id}/1"
    assert log == f"    its log ends: sample {tasks.index(first)} is empty"
    assert next_step.startswith(f"    Next: see the whole log with `luigi-sshjob logs {host.alias} {first.task_id}/1`")

    assert entries.pop("* 1 task: ValueError: no such sample") == ["    Local()", "    Next: see the log above"]
    assert entries.pop("* 1 task: ZeroDivisionError: integer division or modulo by zero")[0].startswith("    Buggy(")
    ((missing, (name, *_)),) = entries.items()
    assert missing == f"* 1 task on {host.alias}: no such file on the host: /nonexistent/input"
    assert name.startswith("    Reading(")


def test_an_error_while_scheduling_is_in_the_report(hold):
    run = hold("--module", "support.failing_tasks", "Scripted", "--host", "a b", "--local-scheduler")
    (entry,) = reported(finished(run))
    assert entry[0] == "* 1 task: invalid host name: 'a b'"
    assert entry[-1] == "    Next: use an alias of ~/.ssh/config, or user@host:port"


class Numbered(luigi.Task):
    number = luigi.IntParameter()


def test_failures_are_grouped_and_their_number_is_bounded():
    failures = Failures()
    for number in range(500):
        error = HostUnreachable("no response", host="box", job=f"Numbered_{number}/1", next_step="wait")
        failures.add(Numbered(number), str(error))
    for number in range(500, 512):
        failures.add(Numbered(number), f"Task {Numbered(number).task_id} died unexpectedly with exit code {number}")
    title, same, *others, rest, end = failures.report().split("\n\n")
    assert (title, end) == (TITLE, TITLE)
    assert same.split("\n") == [
        "* 500 tasks on box: no response",
        "    Numbered(number=0), Numbered(number=1), Numbered(number=2) and 497 more",
        "    for example job Numbered_0/1",
        "    Next: wait",
    ]
    assert others[0].startswith("* 1 task: died unexpectedly with exit code 500\n")
    assert len(others) == 9
    assert rest == "and 3 tasks more, for 3 other reasons"


class Flaky(luigi.Task):
    """It succeeds when it runs a second time."""

    path = luigi.Parameter()

    def complete(self):
        return False

    def run(self):
        if not Path(self.path).exists():
            Path(self.path).touch()
            raise ValueError("not yet")


class Retrying(luigi.interface._WorkerSchedulerFactory):
    def create_local_scheduler(self):
        return luigi.scheduler.Scheduler(retry_delay=0, prune_on_get_work=True)


def test_a_task_that_succeeds_at_last_is_not_reported(luigi_cfg, tmp_path, caplog):
    set_option("worker", keep_alive="true", wait_interval="0.1", wait_jitter="0")
    for retries in (1, 2):
        Flaky.retry_count = retries
        task = Flaky(str(tmp_path / str(retries)))
        caplog.clear()
        luigi_sshjob.build([task], local_scheduler=True, worker_scheduler_factory=Retrying())
        assert Path(task.path).exists()
        assert (f"* 1 task: ValueError: not yet\n    {task}\n" in caplog.text) == (retries == 1)


@pytest.mark.parametrize("explanation", [None, "", {"some": "JSON"}])
def test_whatever_a_task_of_users_explains_is_reported(explanation):
    failures = Failures()
    failures.add(Numbered(1), explanation)
    assert f"* 1 task: {explanation or 'no explanation'}\n    Numbered(number=1)\n" in failures.report()
