"""What Luigi promises a task, with a process for each and without; and what the worker that holds jobs promises."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import luigi
import luigi.configuration
import pytest
from luigi.execution_summary import LuigiStatusCode

import luigi_sshjob
from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.jobs.listing import JobListing

from support import processes
from support.luigi_command import Luigi, answers, ask, finished
from support.recording_tasks import (
    Batched,
    Dying,
    Dynamic,
    Generous,
    Incomplete,
    Licensed,
    Limited,
    Local,
    Noted,
    Retried,
    Secretive,
    Tracked,
    noted,
)

TASKS = "support.recording_tasks"


@pytest.fixture
def folder(text_folder):
    return text_folder


@pytest.fixture
def notes(tmp_path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def some(host, folder, notes):
    """Makes a task of a class with its number."""

    def some(kind: type, number: int, script: str = "true", **more: object) -> luigi.Task:
        return kind(host=host.alias, folder=folder, notes=str(notes), number=number, script=script, **more)

    return some


def most_at_once(lines: list[str]) -> int:
    """How many of those that wrote a + had not written their - yet."""
    now = most = 0
    for line in lines:
        now += 1 if line.startswith("+") else -1
        most = max(most, now)
    return most


def together(count: int) -> str:
    """What a job does that is to run at the same time as so many others."""
    return f'until [ "$(grep -c + ledger)" -ge {count} ]; do sleep 0.1; done'


def ledger(host, folder) -> list[str]:
    return host.run("cat", f"{folder}/ledger", check=False).splitlines()


def set_option(section: str, **values: object) -> None:
    for name, value in values.items():
        luigi.configuration.get_config().set(section, name, str(value))


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


def test_what_fails_is_tried_again_as_often_as_the_task_says_then_disabled(build, some, notes):
    set_option("worker", keep_alive="true", wait_interval=0.1, wait_jitter=0)
    set_option("scheduler", retry_delay=0)
    assert build(some(Retried, 0, "false"), workers=2, detailed_summary=True).status is LuigiStatusCode.FAILED
    assert noted(notes)[0] == ["START", "FAILURE", "on_failure: JobFailed"] * 2


def test_a_resource_is_not_used_more_often_than_there_is(build, host, folder, some):
    set_option("resources", licence=2)
    assert build(*(some(Licensed, number, f"{together(2)}; sleep 0.5") for number in range(5)), workers=5)
    assert most_at_once(ledger(host, folder)) == 2


@pytest.mark.core
def test_batched_tasks_are_one_job(build, host, folder):
    tasks = [Batched(host=host.alias, folder=folder, number=number) for number in range(5)]
    result = build(*tasks, workers=2, detailed_summary=True)
    assert ledger(host, folder) == ["4"]
    assert "5 ran successfully" in result.summary_text


def test_a_task_that_is_not_complete_when_it_has_run_fails_where_that_is_checked(build, some, notes):
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
def test_a_run_of_its_own_gets_a_process_and_what_it_asks_for(build, some, notes):
    assert build(some(Dynamic, 0), workers=2)
    (said,) = [line for line in noted(notes)[0] if line.startswith("process")]
    assert said.endswith(", True")
    assert said != f"process {os.getpid()}, True"
    assert [noted(notes)[number].count("SUCCESS") for number in range(4)] == [1, 1, 1, 1]


def test_a_task_that_was_made_external_is_left_to_whoever_makes_it(build, host, folder, some):
    set_option("worker", retry_external_tasks="true")
    build(luigi.task.externalize(some(Noted, 0)), workers=2)
    assert ledger(host, folder) == []


# -- with luigid


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


def test_a_running_task_can_give_a_resource_back(luigid, host, folder, start):
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


def test_tracking_url_and_messages_reach_the_other_side(luigid, start):
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


# -- the worker that holds jobs


@pytest.fixture
def hold(luigi_cfg, tmp_path):
    """Starts `luigi-sshjob run` on tasks of support/recording_tasks.py or support/sample_tasks.py."""
    started = []

    def hold(*arguments: str, remote_jobs: int = 60) -> Luigi:
        log = tmp_path / f"held-{len(started)}.log"
        started.append(Luigi(log, *arguments, remote_jobs=remote_jobs))
        return started[-1]

    yield hold
    for process in started:
        process.kill_all()


def sleepers(host, folder: str, tmp_path: Path, count: int, seconds: int) -> list[str]:
    """Arguments for so many jobs."""
    place = ["--host", host.alias, "--folder", folder, "--notes", str(tmp_path)]
    return ["Sleepers", *place, "--count", str(count), "--seconds", str(seconds)]


@pytest.mark.alone
def test_jobs_cost_neither_a_process_nor_a_thread_each(host, folder, hold, tmp_path):
    run = hold(*sleepers(host, folder, tmp_path, 40, 0), "--local-scheduler")
    processes.wait_until(lambda: len(ledger(host, folder)) == 40, "all jobs")
    pythons = [member for member in processes.family(run.pid) if "luigi_sshjob" in member.args]
    threads = len(os.listdir(f"/proc/{run.pid}/task"))
    assert len(pythons) == 1
    assert threads < 20
    host.run("touch", f"{folder}/go")
    assert "41 ran successfully" in finished(run)


def test_a_number_of_jobs_that_is_none_is_refused(some):
    with pytest.raises(ConfigurationError, match="remote_jobs is no number of jobs: -1\nNext: give 0 or more"):
        luigi_sshjob.build([some(Noted, 0)], local_scheduler=True, remote_jobs=-1)


def test_neither_kind_of_task_takes_the_room_of_the_other(host, folder, some, notes, tmp_path):
    """All the room for jobs is taken until the local tasks have run, one after the other, and these wait for it."""
    local, taken = tmp_path / "local", tmp_path / "taken"
    tasks = [Local(str(local), number, waits_for=str(taken)) for number in range(3)]
    tasks += [some(Noted, number, f"until [ -e {folder}/go ]; do sleep 0.1; done") for number in range(6)]

    def lead() -> None:
        processes.wait_until(lambda: len(ledger(host, folder)) == 3, "three jobs", 40)
        taken.touch()
        processes.wait_until(lambda: local.exists() and local.read_text().count("-\n") == 3, "the local tasks", 40)
        host.run("touch", f"{folder}/go")

    leading = threading.Thread(target=lead)
    leading.start()
    assert luigi_sshjob.build(tasks, local_scheduler=True, workers=1, remote_jobs=3)
    leading.join()
    in_order = local.read_text().splitlines()
    assert most_at_once([line.split()[1] for line in in_order]) == 1
    assert most_at_once(ledger(host, folder)) == 3


def test_a_worker_killed_at_any_moment_costs_nothing(host, folder, hold, tmp_path):
    chance = random.Random(8)
    for number in range(5):
        run = hold(*sleepers(host, folder, tmp_path, 40, 0), "--local-scheduler")
        if number == 0:
            # something for the next ones to find, however slow the machine is
            processes.wait_until(lambda: " submitted as " in run.log.read_text(), "a job", 60)  # noqa: B023
        time.sleep(chance.uniform(0.6, 2.5))
        processes.kill([member.pid for member in processes.family(run.pid)])
        run.wait()
    run = hold(*sleepers(host, folder, tmp_path, 40, 0), "--local-scheduler")
    processes.wait_until(lambda: "attached to" in run.log.read_text(), "a job that another worker has begun", 90)
    host.run("touch", f"{folder}/go")
    finished(run)
    assert sorted(ledger(host, folder), key=int) == [str(number) for number in range(40)]


@pytest.mark.alone
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("policy", ["leave", "cancel"])
def test_a_worker_that_is_told_to_end_does_so_in_five_seconds(host, folder, luigi_cfg, hold, tmp_path, end, policy):
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + f"on_worker_exit={policy}\n")
    run = hold(*sleepers(host, folder, tmp_path, 20, 100), "--local-scheduler")
    processes.wait_until(lambda: len(ledger(host, folder)) == 20, "all jobs")
    begin = time.monotonic()
    run.send_signal(end)
    run.wait(30)
    assert time.monotonic() - begin < 5

    def running() -> int:
        return sum("supervise.sh" in args for _, args in host.processes())

    if policy == "leave":
        assert running() >= 20
        connection = RemoteContext(host.alias).connection
        listed = JobListing(connection, "~/.luigi-sshjob").attempts()
        cancel_jobs(connection, [(each.job, 1) for each in listed], time.monotonic() + 20)
    processes.wait_until(lambda: not running(), "the end of the jobs", 40)
    if policy == "cancel":
        # they were taken over: the next run is a new attempt
        count = "ls -d .luigi-sshjob/jobs/*/1/collected | wc -l"
        processes.wait_until(lambda: host.run("sh", "-c", count) == "20\n", "the marks of who cancelled them")
        processes.wait_until(lambda: not any(str(tmp_path) in p.args for p in processes.running()), "the guard's end")


@pytest.mark.alone
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_is_told_to_end_also_where_a_handler_of_an_event_would_keep_it(host, folder, hold, notes, end):
    """Luigi catches whatever comes out of one."""
    place = ["--host", host.alias, "--folder", folder, "--notes", str(notes), "--number", "0"]
    run = hold("--module", TASKS, "Lingering", *place, "--script", "sleep 30", "--local-scheduler")
    processes.wait_until(lambda: "lingers" in notes.read_text(), "the handler")
    begin = time.monotonic()
    run.send_signal(end)
    run.wait(30)
    assert time.monotonic() - begin < 5
    assert "on_success" not in notes.read_text()


def test_what_breaks_around_one_task_costs_no_other_its_worker(some, notes, tmp_path):
    set_option("worker", task_process_context="support.recording_tasks.Clumsy")
    local = tmp_path / "local"
    tasks = [some(Secretive, 0), some(Noted, 1, "false"), some(Noted, 2), Local(str(local), 3)]
    result = luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=5, detailed_summary=True)
    assert result.status is LuigiStatusCode.FAILED
    assert [number for number, seen in sorted(noted(notes).items()) if "SUCCESS" in seen] == [0, 2]
    assert local.read_text().endswith("-\n")


@pytest.mark.alone
@pytest.mark.needs_docker
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_host_that_does_not_answer_delays_neither_the_jobs_of_others_nor_the_end(
    host, folder, hold, special_bench, tmp_path, luigi_cfg, end
):
    dead = special_bench().host
    both, seen = tmp_path / "both", tmp_path / "pairs"
    both.write_text(Path(host.ssh_config).read_text() + Path(dead.ssh_config).read_text())
    luigi_cfg.path.write_text(luigi_cfg.path.read_text().replace(str(host.ssh_config), str(both)))
    arguments = [
        *(
            "--module",
            TASKS,
            "Pairs",
            "--hosts",
            json.dumps([host.alias, dead.alias]),
            "--folder",
            "/tmp",
        ),
        *("--notes", str(seen), "--count", "10", "--local-scheduler"),
    ]
    run = hold(*arguments)
    processes.wait_until(lambda: run.log.read_text().count(" submitted as ") == 20, "all jobs")
    dead.pause()
    begin = time.monotonic()
    # those of the second stage begin when those of the first have ended
    processes.wait_until(lambda: seen.exists() and seen.read_text().count("on_success") == 20, "the other's jobs")
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    run.send_signal(end)
    run.wait(30)
    assert time.monotonic() - begin < 5
    dead.unpause()
    finished(hold(*arguments))
    assert len(dead.run("cat", "/tmp/ledger").splitlines()) == 2 * 20


@pytest.fixture
def scheduler(luigid) -> list[str]:
    """Arguments that lead to luigid."""
    return ["--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1"]


def test_two_workers_on_one_luigid_share_the_jobs(host, folder, hold, tmp_path, scheduler):
    arguments = [*sleepers(host, folder, tmp_path, 16, 0), *scheduler]
    both = [hold(*arguments, remote_jobs=4) for _ in range(2)]
    for run in both:
        processes.wait_until(lambda: run.log.read_text().count(" submitted as ") == 4, "four jobs each")  # noqa: B023
    host.run("touch", f"{folder}/go")
    for run in both:
        finished(run)
    assert sorted(ledger(host, folder), key=int) == [str(number) for number in range(16)]


def test_an_assistant_takes_jobs_of_both_kinds_for_another(host, folder, hold, tmp_path, scheduler, luigid):
    place = [
        "--module",
        TASKS,
        "Mixed",
        "--host",
        host.alias,
        "--folder",
        folder,
        "--notes",
        str(tmp_path / "n"),
    ]
    assistant = hold(*place, *scheduler, "--assistant", "--worker-keep-alive", "--workers", "1", remote_jobs=4)
    processes.wait_until(lambda: ask(luigid, "worker_list"), "the assistant")
    # without room for a task of its own
    finished(hold(*place, *scheduler, "--workers", "0", "--worker-keep-alive", remote_jobs=0))
    text = assistant.log.read_text()
    assert text.count(" submitted as ") == 6
    assert most_at_once(ledger(host, folder)) == 4
    in_order = [line.split()[1] for line in (tmp_path / "n").read_text().splitlines() if line.split()[1] in "+-"]
    assert (most_at_once(in_order), len(in_order)) == (1, 4)


@pytest.mark.alone
def test_the_room_for_jobs_is_set_on_luigids_page(host, folder, hold, tmp_path, scheduler, luigid):
    run = hold(*sleepers(host, folder, tmp_path, 6, 0), *scheduler, remote_jobs=1)

    def name() -> str | None:
        return next((one["name"] for one in ask(luigid, "worker_list") if "remote jobs" in one["name"]), None)

    processes.wait_until(lambda: name() is not None, "the name for remote jobs")
    processes.wait_until(lambda: len(ledger(host, folder)) == 1, "one job")
    ask(luigid, "set_worker_processes", worker=name(), n=6)
    processes.wait_until(lambda: len(ledger(host, folder)) == 6, "six jobs at once")
    host.run("touch", f"{folder}/go")
    finished(run)
