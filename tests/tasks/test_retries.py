"""Retries within one run of a task, with a process for each task and without."""

from __future__ import annotations

import itertools
import json
import logging
import re
import signal
from dataclasses import fields, replace

import pytest

import luigi_sshjob
from luigi_sshjob import Outcome
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import JobRef, job_key
from luigi_sshjob.jobs.previous import PreviousAttempt, cause_of
from luigi_sshjob.tasks.retries import Retries

from support import processes
from support.luigi_command import answers, ask, finished
from support.retried_tasks import Reporting, Unlucky
from support.settings import configure

LOST = Outcome.lost("the machine has gone", proved_dead=True)
PAUSE = re.compile(r"was lost: [\s\S]*\bretry lost 1/1 in ")


@pytest.fixture
def folder(text_folder):
    return text_folder


@pytest.fixture
def start(host, folder, start_luigi):
    """Returns a function that starts a `luigi` command on the task."""

    def start(*more: str):
        scheduler = [] if "--scheduler-port" in more else ["--local-scheduler"]
        place = ["--host", host.alias, "--folder", folder, "--workers", "2"]
        return start_luigi("--module", "support.retried_tasks", "Unlucky", *place, *scheduler, *more)

    return start


def attempts(host, folder) -> list[str]:
    """The attempts whose command was run, in order."""
    return host.run("cat", f"{folder}/ledger").split()


def wait_for(process, text: str | re.Pattern[str]) -> None:
    processes.wait_until(lambda: re.search(text, process.log.read_text()), f"{text} in the log", 60)


def lose(host, folder, *numbers: int) -> None:
    """Have these attempts end without an exit record."""
    host.run("touch", *(f"{folder}/die-{number}" for number in numbers))


@pytest.mark.core
def test_a_lost_attempt_is_run_again_and_the_next_one_succeeds(host, folder, build, caplog, capsys):
    lose(host, folder, 1, 2)
    host.run("touch", f"{folder}/go")
    task = Reporting(host.alias, folder, retries={"lost": 2})
    Reporting.said.clear()
    with caplog.at_level(logging.WARNING, "luigi-interface"):
        assert build(task)
    assert attempts(host, folder) == ["1", "2", "3"]
    assert Reporting.said == ["SUBMITTED 1", "on_lost 1", "LOST 1", "SUBMITTED 2", "on_lost 2", "LOST 2", "SUBMITTED 3"]
    key = job_key(task.task_id)
    found = [record.getMessage() for record in caplog.records if "; retry" in record.getMessage()]
    assert [re.sub("was lost: .*;", "was lost;", text) for text in found] == [
        f"{key}/1 on {host.alias} was lost; retry lost 1/2 in 0 s",
        f"{key}/2 on {host.alias} was lost; retry lost 2/2 in 0 s",
    ]
    previous = task.previous
    assert (previous.attempt, previous.cause, previous.label) == (2, "lost", "lost 2/2")
    assert previous.reason == previous.outcome.reason
    # each outcome was collected, and listings show which retry an attempt is
    assert main(["ls", "--json", host.alias]) == 0
    listed = {each["attempt"]: each for each in json.loads(capsys.readouterr().out) if each["task"] == key}
    assert {attempt: each["retry"] for attempt, each in listed.items()} == {1: None, 2: "lost 1/2", 3: "lost 2/2"}
    assert all(each["collected_by"] for each in listed.values())
    assert main(["ls", host.alias]) == 0
    assert "(retry lost 2/2)" in capsys.readouterr().out
    assert main(["show", host.alias, f"{key}/3"]) == 0
    assert re.search(r"^Retry +lost 2/2: attempt 2 was lost: the supervisor", capsys.readouterr().out, re.MULTILINE)


def test_a_worker_killed_in_the_pause_or_during_a_retry_leaves_it_to_the_next_run(host, folder, start, monkeypatch):
    lose(host, folder, 1)
    monkeypatch.setenv("SSHJOB_TEST_PAUSE", "600")
    first = start()
    wait_for(first, PAUSE)
    first.kill_all()
    monkeypatch.setenv("SSHJOB_TEST_PAUSE", "0.2")
    # the first attempt, whose outcome was not collected, then its retry
    second = start()
    wait_for(second, r"attached to \S+/1 ")
    wait_for(second, r"submitted as \S+/2 on \S+ \(retry lost 1/1\)")
    processes.wait_until(lambda: attempts(host, folder) == ["1", "2"], "the second attempt")
    second.kill_all()
    # its command was made with what is known of the first attempt
    third = start()
    wait_for(third, r"attached to \S+/2 on \S+ \(retry lost 1/1\)")
    lose(host, folder, 2)
    assert "it was lost" in finished(third, 30)
    assert "; retry" not in third.log.read_text()
    assert attempts(host, folder) == ["1", "2"]


@pytest.mark.parametrize("end", ["message", "collect", "worker timeout", "worker terminated"])
def test_what_ends_a_task_or_its_worker_in_the_pause_ends_the_retry(
    host, folder, start, luigid, luigi_cfg, monkeypatch, end
):
    lose(host, folder, 1)
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + "on_worker_exit=cancel\n")
    monkeypatch.setenv("SSHJOB_TEST_PAUSE", "3" if end == "collect" else "600")
    limit = ["--worker-timeout", "5"] if end == "worker timeout" else []
    run = start("--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1", *limit)
    wait_for(run, PAUSE)
    task = Unlucky(host.alias, folder)
    if end == "message":

        def status() -> str:
            return ask(luigid, "get_task_status_message", task_id=task.task_id)["statusMessage"] or ""

        processes.wait_until(lambda: PAUSE.search(status()), "the retry in the status message")
        (response,) = answers(luigid, task.task_id, "cancel")
        assert response.startswith(f"{job_key(task.task_id)}/1 was lost")
        assert "no retry follows, as it was cancelled" in finished(run, 30)
    elif end == "collect":
        assert main(["collect", host.alias, task.task_id]) == 0
        assert re.search(r"no retry follows, as it was collected by \S+@\S+ \(process", finished(run, 30))
    elif end == "worker timeout":
        assert "timed out after 5 seconds" in finished(run, 30)
    else:
        processes.send_signal([member.pid for member in processes.family(run.pid)], signal.SIGTERM)
        run.wait(10)
    assert "submitted as" in run.log.read_text()
    assert "/2 on" not in run.log.read_text()
    assert attempts(host, folder) == ["1"]


def test_of_two_workers_that_see_a_loss_one_makes_the_retry_and_the_other_attaches(host, folder, start):
    both = [start(), start()]
    for run in both:
        wait_for(run, r"(submitted as|attached to) \S+/1 ")
    lose(host, folder, 1)
    for run in both:
        wait_for(run, r"(submitted as|attached to) \S+/2 on \S+ \(retry lost 1/1\)")
    host.run("touch", f"{folder}/go")
    text = "".join(map(finished, both))
    assert text.count(" submitted as ") == 2
    assert text.count(" attached to ") == 2
    assert attempts(host, folder) == ["1", "2"]


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (LOST, "lost"),
        # nothing proves that it has ended: a person has given it up, or an earlier version has written the record
        (Outcome.lost("given up by somebody"), ""),
        (Outcome.lost("Slurm reports NODE_FAIL", proved_dead=True), "lost"),
        (replace(LOST, scheduler="EVICTED"), "preempted"),
        (Outcome("killed", 143, "TERM", scheduler="PREEMPTED"), "preempted"),
        (Outcome("killed", 143, "TERM", scheduler="NODE_FAIL"), "lost"),
        (Outcome("killed", 137, "KILL", scheduler="OUT_OF_MEMORY"), "memory"),
        (Outcome("killed", 137, "KILL", out_of_memory="machine"), "memory"),
        # of a script whose program was killed
        (Outcome("failed", 137, out_of_memory="machine"), "memory"),
        (Outcome("failed", 1, out_of_memory="machine"), ""),
        # its limit is its own, whatever it made of the end of one of its processes
        (Outcome("failed", 1, out_of_memory="job", not_applied=("nice", "ionice")), "memory"),
        (Outcome("killed", 137, "KILL"), ""),
        (Outcome("failed", 1), ""),
        (Outcome("timed_out", 143, "TERM"), "timed_out"),
        (Outcome("cancelled", 143, out_of_memory="machine"), ""),
        (Outcome("succeeded", 0), ""),
    ],
)
def test_a_cause_is_what_record_and_scheduler_say_for_certain(outcome, cause):
    assert cause_of(outcome) == cause
    # also for a process that reads it from the host
    previous = PreviousAttempt.of(7, outcome, cause, {"lost": 1, cause: 2}, 3)
    assert PreviousAttempt.parse(previous.line()) == previous


@pytest.mark.parametrize("verb", ["collect_for_retry", "submit"])
def test_no_retry_runs_that_was_cancelled_while_it_was_made(host, folder, build, monkeypatch, verb):
    lose(host, folder, 1)
    task, step = Unlucky(host.alias, folder), getattr(JobClient, verb)

    def cancel_first(client, what, *rest):
        if verb != "submit" or what.previous:
            task.job.cancel()
        return step(client, what, *rest)

    monkeypatch.setattr(JobClient, verb, cancel_first)
    assert not build(task)
    # one that was submitted in that moment is cancelled, and may have begun
    assert attempts(host, folder)[: 1 if verb != "submit" else 2] in (["1"], ["1", "2"])
    assert task.job.outcome().state == ("lost" if verb != "submit" else "cancelled")


def test_a_note_of_a_retry_is_short_whatever_the_host_has_sent():
    long = "日" * 9999
    texts = {field.name: long for field in fields(Outcome) if field.type == "str"}
    previous = PreviousAttempt.of(1, Outcome(**{**texts, "reason": f"it's\n\udc80{long}"}), "lost", {"lost": 1}, 1)
    assert len(previous.line()) < 8000
    assert "\n" not in previous.line()
    assert PreviousAttempt.parse(previous.line()) == previous


HUGE = '{"attempt": 1e999, "used": {}, "allowed": 1, "cause": "lost", "outcome": {}}'


@pytest.mark.parametrize("line", ["", "{}", "7", "[" * 9999, '{"attempt": NaN}', '{"attempt": 1, "used": 3}', HUGE])
def test_a_damaged_note_of_a_retry_is_none(line):
    assert PreviousAttempt.parse(line) is None


def test_retries_are_counted_by_cause_until_each_is_used_up():
    retries, job = Retries.checked("lost:2, memory : 1"), JobRef("h", "Task", 1, "/d")
    oom = Outcome("killed", 137, "KILL", scheduler="OUT_OF_MEMORY")
    seen, previous, pauses = [], None, []
    for outcome in (LOST, oom, LOST, LOST):
        again = retries.after(job, outcome, previous)
        if again is None:
            break
        previous = again.previous
        pauses.append(again.pause)
        seen.append(previous.label)
    assert seen == ["lost 1/2", "memory 1/1", "lost 2/2"]
    assert retries.after(job, oom, previous) is None
    assert all(later <= 4 * earlier for earlier, later in itertools.pairwise(pauses))
    assert Retries.checked("").allowed == Retries.checked({}).allowed == {}


@pytest.mark.parametrize(
    "value", [{"lots": 1}, {"lost": -1}, {"lost": True}, {"lost": 1.0}, {"lost": "1"}, 3, ["lost"], "lost", "lost:-1"]
)
def test_retries_that_are_not_numbers_by_cause_are_an_error(value):
    with pytest.raises(ConfigurationError, match=r"retries must be numbers by cause: [\s\S]*Next: use a dict of"):
        Retries.checked(value)


def test_the_setting_applies_to_tasks_without_the_attribute(luigi_cfg):
    class Plain(luigi_sshjob.RemoteJobTask):
        host = "box"

        def command(self):
            return "true"

    configure(retries="preempted:5 memory:1")
    assert Plain().prepare_run().options.retries.allowed == {"preempted": 5, "memory": 1}
    Plain.retries = {}
    assert Plain().prepare_run().options.retries.allowed == {}
