"""The event loop in the worker's main thread."""

from __future__ import annotations

import multiprocessing
import queue

import pytest

from luigi_sshjob.worker.main_thread import MainThreadQueue


@pytest.fixture
def main_thread():
    wrapped = multiprocessing.Queue()
    yield MainThreadQueue(wrapped, lambda: None)
    wrapped.close()
    wrapped.join_thread()


def test_messages_of_all_tasks_are_sent_in_turn(main_thread):
    """Also while one task renews its own as soon as one of them is sent."""
    sent = []

    def send(task: str, kind: str) -> None:
        sent.append((task, kind))
        if task == "busy":
            report(task, kind)

    def report(task: str, kind: str) -> None:
        main_thread.call_latest(task, kind, lambda: send(task, kind))

    for task, kind in (("busy", "status"), ("busy", "progress"), ("other", "status"), ("other", "progress")):
        report(task, kind)
    with pytest.raises(queue.Empty):
        main_thread.get(0.3)
    assert sorted(sent[:4]) == [("busy", "progress"), ("busy", "status"), ("other", "progress"), ("other", "status")]


def test_the_messages_of_an_ended_task_are_discarded(main_thread):
    sent = []
    for task in ("ended", "other"):
        main_thread.call_latest(task, "status", lambda task=task: sent.append(task))
    assert len(main_thread.discard("ended")) == 1
    with pytest.raises(queue.Empty):
        main_thread.get(0.2)
    assert sent == ["other"]
