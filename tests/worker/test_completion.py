"""Hosts are asked for many tasks at once whether they are complete, while Luigi schedules them."""

from __future__ import annotations

import multiprocessing

import luigi
import pytest

import luigi_sshjob
from luigi_sshjob.tasks import completion

from support.recording_tasks import Noted, noted


class Interrupts(luigi.Task):
    def complete(self):
        raise KeyboardInterrupt


@pytest.fixture
def questions(monkeypatch):
    """The numbers of tasks in each question to the host."""
    asked = []
    ask = completion.are_published
    # tasks that another test has announced would be asked for, too
    completion.forget()

    def record(connection, paths, others):
        asked.append(1 + len(others))
        return ask(connection, paths, others)

    monkeypatch.setattr(completion, "are_published", record)
    return asked


def runs(notes) -> dict[int, int]:
    """How often each task has succeeded."""
    return {number: lines.count("on_success") for number, lines in noted(notes).items()}


def test_one_question_is_for_all_tasks_of_a_host(some, notes, questions):
    """Those that are complete are not run."""
    assert luigi_sshjob.build([some(Noted, number) for number in range(3)], local_scheduler=True)
    assert questions == [3]
    assert luigi_sshjob.build([some(Noted, number) for number in range(30)], local_scheduler=True)
    assert questions == [3, 30]
    assert runs(notes) == dict.fromkeys(range(30), 1)


def test_an_answer_of_an_interrupted_build_is_not_used_by_the_next(host, some, notes, questions):
    """A job whose record was removed meanwhile runs again."""
    tasks = [some(Noted, number) for number in range(2)]
    assert luigi_sshjob.build(tasks, local_scheduler=True)
    with pytest.raises(KeyboardInterrupt):
        luigi_sshjob.build([tasks[0], Interrupts(), tasks[1]], local_scheduler=True)
    assert questions == [2, 2]
    tasks[1].output()["exit_record"].remove()
    assert luigi_sshjob.build(tasks[1:], local_scheduler=True)
    assert runs(notes) == {0: 1, 1: 2}


def test_an_answer_that_arrives_when_tasks_run_is_not_used(some, monkeypatch, questions):
    ask = completion.are_published

    def ask_while_the_first_task_starts(*asked):
        completion.forget()
        return ask(*asked)

    tasks = [some(Noted, number) for number in range(2)]
    completion.expect(tasks)
    monkeypatch.setattr(completion, "are_published", ask_while_the_first_task_starts)
    for task in tasks:
        assert not task.complete()
    assert questions == [2, 1]


def test_a_forked_process_asks_for_itself(some):
    """It was forked while a thread of its parent held the lock."""
    task = some(Noted, 0)
    completion.expect([task])
    with completion._announced.lock:
        child = multiprocessing.get_context("fork").Process(target=task.complete)
        child.start()
        child.join(20)
    assert child.exitcode == 0
