"""RemoteJobTask as Luigi runs it: the `luigi` command, several workers, luigid."""

from __future__ import annotations

import os
import pickle
import re
import signal

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import JobFailed, JobNotFound
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.recent import recent_locations

from support import processes
from support.luigi_command import ask, finished
from support.sample_tasks import Count, Failing, Slow
from support.settings import both_transports, configure


@pytest.fixture
def folder(text_folder):
    return text_folder


@pytest.mark.core
@both_transports
def test_twenty_tasks_on_four_workers_cost_one_login(host, folder, start_luigi):
    before = host.accepted_logins()
    arguments = ("Sum", "--host", host.alias, "--folder", folder, "--count", "20", "--workers", "4")
    text = finished(start_luigi(*arguments, "--local-scheduler"))
    assert "21 ran successfully" in text
    assert "] counting 19" in text
    assert host.run("cat", f"{folder}/sum") == "60\n"
    assert host.accepted_logins() == before + 1
    # for `luigi-sshjob ls` without a name
    assert [place.host for place in recent_locations()] == [host.alias]


@pytest.mark.core
@both_transports
def test_a_worker_that_is_killed_costs_nothing_and_the_next_one_attaches(host, folder, start_luigi):
    arguments = ("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler", "--workers", "2")
    first = start_luigi(*arguments)
    processes.wait_until(lambda: "] working on it" in first.log.read_text(), "the job's first line")
    processes.kill([member.pid for member in processes.family(first.pid)])
    first.wait()
    second = start_luigi(*arguments)
    processes.wait_until(lambda: "attached to" in second.log.read_text(), "the second worker's attaching")
    host.run("touch", f"{folder}/go")
    assert "] let go" in finished(second)
    assert host.run("cat", f"{folder}/ledger") == "run\n"


@both_transports
def test_an_ordinary_end_of_the_worker_leaves_the_job_running(host, folder, start_luigi):
    first = start_luigi("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler", "--workers", "2")
    processes.wait_until(lambda: "] working on it" in first.log.read_text(), "the job's first line")
    processes.send_signal([member.pid for member in processes.family(first.pid)], signal.SIGTERM)
    first.wait(30)
    assert any("supervise.sh" in args for _, args in host.processes())
    host.run("touch", f"{folder}/go")
    processes.wait_until(lambda: not any("supervise.sh" in args for _, args in host.processes()), "the job's own end")
    task = Slow(host=host.alias, folder=folder)
    assert task.job.outcome().succeeded
    assert task.complete()


def ended(host, folder, job: Slow) -> str:
    """The state of the job when it has ended."""
    processes.wait_until(lambda: job.job.outcome() is not None, "the end of the job")
    # the supervisor itself ends right after the record
    left = [args for _, args in host.processes() if "supervise.sh" not in args]
    assert not any(folder in args for args in left)
    processes.wait_until(lambda: not any("supervise.sh" in args for _, args in host.processes()), "its end")
    return job.job.outcome().state


@pytest.mark.parametrize("end", ["terminated", "interrupted", "worker killed"])
def test_an_ordinary_end_of_the_worker_cancels_the_job_if_configured(host, folder, luigi_cfg, start_luigi, end):
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + "on_worker_exit=cancel\npoll_interval=0.5\n")
    first = start_luigi("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler", "--workers", "2")
    processes.wait_until(lambda: "] working on it" in first.log.read_text(), "the job's first line")
    if end == "terminated":
        processes.send_signal([member.pid for member in processes.family(first.pid)], signal.SIGTERM)
    elif end == "interrupted":
        os.killpg(first.pid, signal.SIGINT)
    else:
        first.kill()
    first.wait(30)
    assert ended(host, folder, Slow(host=host.alias, folder=folder)) == "cancelled"
    # it was collected: the next run is a new attempt
    luigi_cfg.path.write_text(luigi_cfg.path.read_text().replace("=cancel", "=leave"))
    host.run("touch", f"{folder}/go")
    assert "submitted as" in finished(
        start_luigi("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler")
    )
    assert host.run("cat", f"{folder}/ledger") == "run\nrun\n"


def test_ctrl_c_with_one_worker_cancels_the_job_if_configured(host, folder, luigi_cfg, start_luigi):
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + "on_worker_exit=cancel\n")
    first = start_luigi("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler")
    processes.wait_until(lambda: "] working on it" in first.log.read_text(), "the job's first line")
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == -signal.SIGTERM
    assert ended(host, folder, Slow(host=host.alias, folder=folder)) == "cancelled"


@both_transports
def test_a_worker_timeout_cancels_the_job_and_the_next_run_is_a_new_attempt(host, folder, start_luigi):
    arguments = ("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler")
    text = finished(start_luigi(*arguments, "--worker-timeout", "3"), 30)
    assert "] working on it" in text
    assert "timed out after 3 seconds" in text
    assert ended(host, folder, Slow(host=host.alias, folder=folder)) == "cancelled"
    host.run("touch", f"{folder}/go")
    assert "submitted as" in finished(start_luigi(*arguments))
    assert host.run("cat", f"{folder}/ledger") == "run\nrun\n"


@pytest.mark.core
@both_transports
def test_a_failure_names_host_job_reason_and_next_step(host, folder, start_luigi):
    text = finished(start_luigi("Failing", "--host", host.alias, "--local-scheduler"), 30)
    job = f"{job_key(Failing(host=host.alias).task_id)}/1"
    assert f"host {host.alias}, job {job}: it failed with exit code 7" in text
    assert "  | the reason is this" in text
    assert f"Next: see the whole log with `luigi-sshjob logs {host.alias} {job}`" in text


@pytest.mark.core
def test_the_default_outputs_are_the_record_and_the_log(host, folder, build):
    task = Slow(host=host.alias, folder=folder)
    host.run("touch", f"{folder}/go")
    assert not task.complete()
    with pytest.raises(JobNotFound, match="Next: run the task"):
        _ = task.job
    assert build(task)
    assert task.complete()
    assert task.output()["log"].open().read() == "working on it\nlet go\n"
    assert "outcome: succeeded" in task.output()["exit_record"].open().read()
    assert task.job.exit_code.open().read() == "0\n"
    assert task.job.log.open().read() == "working on it\nlet go\n"
    assert task.job.id == f"{task.task_id}/1"


def test_a_failed_task_has_no_output_and_runs_again(host, folder):
    task = Failing(host=host.alias)
    for attempt in (1, 2):
        with pytest.raises(JobFailed) as caught:
            task.run()
        assert caught.value.outcome.exit_code == 7
        assert (task.job.id, task.complete()) == (f"{task.task_id}/{attempt}", False)
        assert task.job.exit_code.open().read() == "7\n"


def test_removing_the_output_runs_the_task_again(host, folder, build):
    task = Slow(host=host.alias, folder=folder)
    host.run("touch", f"{folder}/go")
    for _ in range(2):
        assert build(task)
        task.output()["exit_record"].remove()
    assert host.run("cat", f"{folder}/ledger") == "run\nrun\n"


def test_a_worker_that_comes_when_another_has_just_finished_does_not_run_it_again(host, folder):
    """It asked whether the task is complete before the other began."""
    host.run("touch", f"{folder}/go")
    first, late = Slow(host=host.alias, folder=folder), Slow(host=host.alias, folder=folder)
    first.run()
    late.run()
    assert host.run("cat", f"{folder}/ledger") == "run\n"
    late.output()["exit_record"].remove()
    late.run()
    assert host.run("cat", f"{folder}/ledger") == "run\nrun\n"


def test_an_old_success_whose_output_was_removed_is_run_again(host, folder, start_luigi):
    arguments = ("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler")
    first = start_luigi(*arguments)
    processes.wait_until(lambda: "] working on it" in first.log.read_text(), "the job's first line")
    processes.kill([member.pid for member in processes.family(first.pid)])
    host.run("touch", f"{folder}/go")
    task = Slow(host=host.alias, folder=folder)
    processes.wait_until(task.complete, "the job's own end")
    task.output()["exit_record"].remove()
    finished(start_luigi(*arguments))
    assert host.run("cat", f"{folder}/ledger") == "run\nrun\n"
    assert task.complete()


def test_a_job_without_a_submit_response_is_cancelled_with_its_worker(host, folder, monkeypatch):
    """Not the attempt before it, which the same task has submitted, too."""

    class Second(RemoteJobTask):
        host = luigi.Parameter()

        def command(self):
            return f"cd {folder}; test -e ran && exec sleep 60; touch ran; exit 1"

    task = Second(host.alias)
    with pytest.raises(JobFailed):
        task.run()
    submit = JobClient.submit

    def unheard(*arguments):
        submit(*arguments)
        raise RuntimeError("the answer was lost")

    monkeypatch.setattr(JobClient, "submit", unheard)
    with pytest.raises(RuntimeError):
        task.run()
    task.cancel_after_timeout("its worker ends")
    assert task.job.ref.attempt == 2
    assert task.job.outcome().state == "cancelled"


@pytest.mark.core
def test_a_job_is_cancelled_through_its_task(host, folder, start_luigi):
    process = start_luigi("Slow", "--host", host.alias, "--folder", folder, "--local-scheduler")
    processes.wait_until(lambda: "] working on it" in process.log.read_text(), "the job's first line")
    assert Slow(host=host.alias, folder=folder).job.cancel().state == "cancelled"
    assert "it was cancelled" in finished(process, 30)


@pytest.mark.parametrize(("policy", "left"), [("never", True), ("on_success", False), ("always", False)])
def test_cleanup_removes_the_attempt_as_configured(host, folder, policy, left, build):
    configure(cleanup=policy)
    task = Count(host=host.alias, folder=folder)
    assert build(task)
    assert task.complete()
    assert task.job.log.exists() is left
    assert task.job.outcome().succeeded


def test_a_task_whose_output_is_a_directory(host, folder, build):
    class Tree(RemoteJobTask):
        host = luigi.Parameter()

        def command(self):
            return 'mkdir "$SSHJOB_OUTPUT" && echo leaf >"$SSHJOB_OUTPUT/leaf"'

        def output(self):
            return self.remote_target(f"{folder}/tree")

    assert build(Tree(host=host.alias))
    assert host.run("cat", f"{folder}/tree/leaf") == "leaf\n"


def test_a_task_that_cannot_log_in_leaves_nothing_on_the_host(host, folder, build):
    before = host.run("ls", "-A")
    task = Count(host="no-such-host.invalid", folder=folder)
    assert not build(task)
    assert host.run("ls", "-A") == before


@pytest.mark.core
def test_status_and_progress_reach_luigid_while_the_job_runs(host, folder, start_luigi, luigid):
    worker = start_luigi(
        *("Slow", "--host", host.alias, "--folder", folder, "--workers", "2"),
        *("--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1"),
    )
    task_id = Slow(host=host.alias, folder=folder).task_id

    def status() -> str:
        return ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"] or ""

    processes.wait_until(lambda: "aligning reads" in status(), "the status message")
    # the job may be further than what was last told of its state
    said = rf"running on {host.alias} for \d+ s\n40 % aligning reads\n"
    processes.wait_until(lambda: re.match(said, status()), "the state in the status message")
    assert "working on it" in status()
    assert ask(luigid, "get_task_progress_percentage", task_id=task_id)["progressPercentage"] == 40
    host.run("touch", f"{folder}/go")
    finished(worker)


def test_a_task_can_be_pickled_after_its_run(host, folder):
    task = Failing(host=host.alias)
    with pytest.raises(JobFailed):
        task.run()
    copy = pickle.loads(pickle.dumps(task))
    assert copy.job.ref == task.job.ref
