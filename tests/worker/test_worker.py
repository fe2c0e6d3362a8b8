"""The worker that runs remote jobs without a process for each."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from luigi.execution_summary import LuigiStatusCode

import luigi_sshjob
from luigi_sshjob import RemoteContext
from luigi_sshjob.errors import ConfigurationError, LocalResourceError
from luigi_sshjob.jobs.cancel import cancel_jobs
from luigi_sshjob.jobs.listing import JobListing
from luigi_sshjob.worker.reaper import Reaper

from support import processes
from support.luigi_command import ask, finished
from support.process_limit import process_limit
from support.recording_tasks import (
    Local,
    Noted,
    Secretive,
    noted,
)
from support.worker_runs import TASKS, ledger, most_at_once, set_option, sleepers


@pytest.mark.alone
def test_jobs_cost_neither_a_process_nor_a_thread_each(host, folder, hold, tmp_path):
    run = hold(*sleepers(host, folder, tmp_path, 50, 0), "--local-scheduler")
    processes.wait_until(lambda: len(ledger(host, folder)) == 50, "all jobs")
    pythons = [member for member in processes.family(run.pid) if "luigi_sshjob" in member.args]
    threads = len(os.listdir(f"/proc/{run.pid}/task"))
    assert len(pythons) == 1
    assert threads < 40
    host.run("touch", f"{folder}/go")
    assert "51 ran successfully" in finished(run)


def test_an_invalid_number_of_jobs_is_an_error(some):
    with pytest.raises(ConfigurationError, match="remote_jobs must be an integer, 0 or more: -1\nNext: set how many"):
        luigi_sshjob.build([some(Noted, 0)], local_scheduler=True, remote_jobs=-1)


def test_neither_kind_of_task_takes_the_slots_of_the_other(host, folder, some, notes, tmp_path):
    """All slots for jobs are in use until the local tasks have run one by one, which wait for the jobs first."""
    local, taken = tmp_path / "local", tmp_path / "taken"
    tasks = [Local(str(local), number, waits_for=str(taken)) for number in range(3)]
    tasks += [some(Noted, number, f"while [ -d {folder} ] && ! [ -e go ]; do sleep 0.1; done") for number in range(6)]

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
def test_a_terminated_worker_ends_within_five_seconds(host, folder, luigi_cfg, hold, tmp_path, end, policy):
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + f"on_worker_exit={policy}\n")
    run = hold(*sleepers(host, folder, tmp_path, 20, 100), "--local-scheduler")
    processes.wait_until(lambda: len(ledger(host, folder)) == 20, "all jobs")
    begin = time.monotonic()
    run.send_signal(end)
    run.wait(30)
    assert time.monotonic() - begin < 5
    said = "20 jobs keep running: run the same tasks again to attach" in run.log.read_text()
    assert said == (policy == "leave")

    def running() -> int:
        return sum("supervise.sh" in args for _, args in host.processes())

    if policy == "leave":
        assert running() >= 20
        connection = RemoteContext(host.alias).connection
        listed = JobListing(connection, "~/.luigi-sshjob").attempts()
        cancel_jobs(connection, [(each.job, 1) for each in listed], time.monotonic() + 20)
    processes.wait_until(lambda: not running(), "the end of the jobs", 40)
    if policy == "cancel":
        # they were collected: the next run is a new attempt
        count = "ls -d .luigi-sshjob/jobs/*/1/collected | wc -l"
        processes.wait_until(lambda: host.run("sh", "-c", count) == "20\n", "the marks of who cancelled them")
        processes.wait_until(lambda: not any(str(tmp_path) in p.args for p in processes.running()), "the guard's end")


@pytest.mark.alone
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_worker_ends_even_in_an_event_handler(host, folder, hold, notes, end):
    """Luigi catches whatever comes out of one."""
    place = ["--host", host.alias, "--folder", folder, "--notes", str(notes), "--number", "0"]
    run = hold("--module", TASKS, "Lingering", *place, "--script", "sleep 30", "--local-scheduler")
    processes.wait_until(lambda: "lingers" in notes.read_text(), "the handler")
    begin = time.monotonic()
    run.send_signal(end)
    run.wait(30)
    assert time.monotonic() - begin < 5
    assert "on_success" not in notes.read_text()


def test_a_task_that_breaks_does_not_end_the_worker(some, notes, tmp_path):
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
def test_an_unreachable_host_delays_neither_other_hosts_nor_the_end_of_the_worker(
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
def test_the_number_of_remote_jobs_can_be_set_on_luigids_page(host, folder, hold, tmp_path, scheduler, luigid):
    run = hold(*sleepers(host, folder, tmp_path, 6, 0), *scheduler, remote_jobs=1)

    def name() -> str | None:
        return next((one["name"] for one in ask(luigid, "worker_list") if "remote jobs" in one["name"]), None)

    processes.wait_until(lambda: name() is not None, "the name for remote jobs")
    processes.wait_until(lambda: len(ledger(host, folder)) == 1, "one job")
    ask(luigid, "set_worker_processes", worker=name(), n=6)
    processes.wait_until(lambda: len(ledger(host, folder)) == 6, "six jobs at once")
    host.run("touch", f"{folder}/go")
    finished(run)


def test_a_reaper_that_cannot_be_started_is_an_error_and_the_next_one_starts():
    reaper = Reaper()
    with process_limit() as limit, limit.around_this_process():
        limit.set(1)
        with pytest.raises(LocalResourceError, match=r"starting the process that cancels jobs[\s\S]*ulimit -u"):
            reaper._start()
        limit.set("max")
        reaper._start()
        reaper.stop(cancel_jobs=False)
