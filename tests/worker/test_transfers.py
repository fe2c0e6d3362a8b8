"""Large inputs and outputs of some jobs do not delay the other jobs of their host."""

from __future__ import annotations

import threading

import luigi
import pytest

import luigi_sshjob
from luigi_sshjob.targets.copy import Copy
from luigi_sshjob.targets.transfer import Upload

from support import processes
from support.recording_tasks import Noted, noted

COUNT = 30  # more than a host has threads


class Other(Noted):
    """Is given to the worker after all others, and has nothing to transfer."""

    priority = -1

    @property
    def base_dir(self):
        return f"{self.folder}/base"


class Sending(Other):
    """All have the same input."""

    priority = 1

    def inputs(self):
        return self.notes.replace("notes", "input")


class Fetching(Other):
    """Has an output that comes back."""

    priority = 0

    def output(self):
        return luigi.LocalTarget(f"{self.notes}-{self.number}")


@pytest.fixture
def slow(monkeypatch):
    """Makes a method wait for an event; returns the event."""

    def slow(kind: type, name: str) -> threading.Event:
        proceed, method = threading.Event(), getattr(kind, name)

        def wait(*arguments):
            assert proceed.wait(60)
            return method(*arguments)

        monkeypatch.setattr(kind, name, wait)
        return proceed

    return slow


def ended_before(tasks: list[luigi.Task], notes, others: set[int], proceed: threading.Event) -> set[int]:
    """Runs all tasks; returns which had succeeded before `proceed`, which is set as soon as `others` have."""
    seen: list[set[int]] = []

    def succeeded() -> set[int]:
        return {number for number, lines in noted(notes).items() if "on_success" in lines}

    def lead() -> None:
        try:
            processes.wait_until(lambda: succeeded() >= others, "the other jobs", 30)
        finally:
            seen.append(succeeded())
            proceed.set()

    leading = threading.Thread(target=lead)
    leading.start()
    assert luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=2 * COUNT)
    leading.join()
    assert succeeded() == {task.number for task in tasks}
    return seen[0]


def test_jobs_that_wait_for_an_input_to_be_sent_delay_no_other_job(some, notes, tmp_path, slow):
    (tmp_path / "input").write_text("x")
    tasks = [some(Sending, number, 'test "$(cat "$SSHJOB_INPUT")" = x') for number in range(COUNT)]
    tasks += [some(Other, 100), some(Fetching, 101, 'echo x >"$SSHJOB_OUTPUT"')]
    assert ended_before(tasks, notes, {100, 101}, slow(Upload, "run")) == {100, 101}


def test_jobs_whose_outputs_are_fetched_delay_no_other_job(some, notes, tmp_path, slow):
    (tmp_path / "input").write_text("x")
    tasks = [some(Fetching, number, 'echo x >"$SSHJOB_OUTPUT"') for number in range(COUNT)]
    tasks += [some(Other, 100), some(Sending, 101)]
    assert ended_before(tasks, notes, {100, 101}, slow(Copy, "get")) == {100, 101}
