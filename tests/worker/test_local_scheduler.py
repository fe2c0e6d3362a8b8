"""The scheduler of one process hands out tasks as Luigi's does."""

from __future__ import annotations

import random

import luigi.configuration
import luigi.scheduler
import pytest

from luigi_sshjob.worker.local_scheduler import LocalScheduler

COUNTS = ("n_pending_tasks", "n_unique_pending", "n_pending_last_scheduled", "running_tasks")
WORKER = "worker"


def without_times(work):
    """A response of `get_work`, without what depends on the clock, or on the order of a set."""
    running = sorted(work.get("running_tasks", []), key=lambda task: task["task_id"])
    return {**work, "running_tasks": [{**task, "started": 0} for task in running]}


class Both:
    """The two schedulers, with the same calls."""

    def __init__(self) -> None:
        self.ours = LocalScheduler()
        # as luigi.build makes it
        self.luigis = luigi.scheduler.Scheduler(prune_on_get_work=True, record_task_history=False)

    def call(self, method, **options):
        ours, luigis = (getattr(scheduler, method)(**options) for scheduler in (self.ours, self.luigis))
        return without_times(ours or {}), without_times(luigis or {})


class Story:
    """Random tasks of some workers."""

    def __init__(self, seed: int, special: str) -> None:
        self.chance = random.Random(seed)
        self.special = special
        self.both = Both()
        self.both.call("update_resources", disk=self.chance.randint(1, 3))
        self.running: dict[str, list[str]] = {WORKER: []}
        if special == "workers":
            self.running["another"] = []
        for worker in self.running:
            self.both.call("add_worker", worker=worker, info=[])
            if special == "batches":
                batcher = {"task_family": "Task", "batched_args": ["day"], "max_batch_size": 2}
                self.both.call("add_task_batcher", worker=worker, **batcher)
        self.names: list[str] = []
        self.idle = 0

    def worker(self) -> str:
        return self.chance.choice(list(self.running))

    def add(self) -> None:
        self.names.append(f"task_{len(self.names)}")
        self.announce(self.names[-1])

    def announce(self, name: str) -> None:
        chance, known = self.chance, self.names[: self.names.index(name)]
        self.both.call(
            "add_task",
            worker=self.worker(),
            task_id=name,
            family="Task",
            params={"day": name},
            batchable=self.special == "batches",
            deps=chance.sample(known, min(len(known), chance.randint(0, 2))),
            priority=chance.randint(0, 3),
            resources={"disk": 1} if self.special == "resources" and chance.random() < 0.4 else {},
        )

    def announce_again(self) -> None:
        """Perhaps with another priority and other dependencies, and by another worker."""
        if self.names:
            self.announce(self.chance.choice(self.names))

    def require_more(self) -> None:
        """As a task with dynamic dependencies does: it is announced again, with another one."""
        worker = self.worker()
        if running := self.running[worker]:
            self.add()
            self.both.call(
                "add_task", worker=worker, task_id=running.pop(), status="PENDING", new_deps=[self.names[-1]]
            )

    def forgive(self) -> None:
        if self.names:
            self.both.call("forgive_failures", task_id=self.chance.choice(self.names))

    def end(self) -> None:
        worker = self.worker()
        if running := self.running[worker]:
            ended = running.pop(self.chance.randrange(len(running)))
            self.both.call(
                "add_task", worker=worker, task_id=ended, status=self.chance.choice(["DONE", "DONE", "FAILED"])
            )

    def lose(self) -> None:
        """Forget a task that was handed out, as if its response was lost."""
        if running := self.running[self.worker()]:
            running.pop()

    def ask(self) -> None:
        worker = self.worker()
        ours, luigis = self.both.call("get_work", worker=worker, host="here", current_tasks=list(self.running[worker]))
        if luigis["task_id"] is None and "batch_id" not in luigis:
            self.idle += 1
            assert ours == luigis
            return
        self.running[worker] += [luigis["task_id"]] if luigis["task_id"] else luigis["batch_task_ids"]
        # the worker asks again at once
        assert all(ours[name] for name in COUNTS[:3])
        assert {**ours, **dict.fromkeys(COUNTS)} == {**luigis, **dict.fromkeys(COUNTS)}


@pytest.fixture(params=["900", "0"])
def retry_delay(request):
    """Seconds after which a failed task may run again, as `[scheduler]` sets it; 900 is Luigi's default."""
    config = luigi.configuration.get_config()
    config.set("scheduler", "retry_delay", request.param)
    yield
    config.remove_option("scheduler", "retry_delay")


@pytest.mark.parametrize("special", ["nothing", "resources", "batches", "workers"])
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.usefixtures("retry_delay")
def test_tasks_are_handed_out_as_luigis_scheduler_does(seed, special):
    """Whatever their order, priorities and failures; the counts are right when there is no work."""
    story = Story(seed, special)
    steps = [story.add, story.ask, story.ask, story.end]
    for _ in range(200):
        rare = story.chance.choice([story.announce_again, story.require_more, story.forgive, story.lose])
        (rare if story.chance.random() < 0.1 else story.chance.choice(steps))()
    # a batch whose response was lost may be handed out without an end
    assert story.idle or special == "batches"
    ours, luigis = story.both.call("count_pending", worker=WORKER)
    assert ours == luigis


def test_what_a_running_task_needs_urgently_comes_first():
    both = Both()
    for name in ("running", "first", "second"):
        both.call("add_task", worker=WORKER, task_id=name)

    def work() -> tuple[str, str]:
        ours, luigis = both.call("get_work", worker=WORKER, host="here", current_tasks=None)
        return ours["task_id"], luigis["task_id"]

    assert work() == ("running", "running")
    # the order was known before
    both.ours._best_tasks(WORKER)
    both.call("add_task", worker=WORKER, task_id="running", deps=["second"], priority=9)
    assert work() == ("second", "second")


def test_each_task_is_looked_at_a_few_times_only_whatever_waits_for_all_of_them(monkeypatch):
    scheduler, looks, running = LocalScheduler(), [], []
    names = [f"task_{number}" for number in range(300)]
    # the first of the order, and the last that may run
    scheduler.add_task(worker=WORKER, task_id="root", deps=names)
    for name in names:
        scheduler.add_task(worker=WORKER, task_id=name)
    schedulable = LocalScheduler._schedulable
    monkeypatch.setattr(
        LocalScheduler, "_schedulable", lambda self, task: looks.append(task) or schedulable(self, task)
    )
    for done in range(len(names)):
        while len(running) < 20 and done + len(running) < len(names):
            work = scheduler.get_work(worker=WORKER, host="here", current_tasks=list(running))
            running.append(work["task_id"])
        scheduler.add_task(worker=WORKER, task_id=running.pop(0), status="DONE")
    assert scheduler.get_work(worker=WORKER, host="here", current_tasks=[])["task_id"] == "root"
    # our own look and Luigi's, at this task and at the root
    assert len(looks) <= 6 * len(names)


def test_a_worker_that_is_gone_is_still_removed(monkeypatch):
    """Once a second, not for each task."""
    scheduler = LocalScheduler()
    scheduler.add_task(worker="gone", task_id="one")
    scheduler.get_work(worker="gone", host="here")
    removed = []
    monkeypatch.setattr(luigi.scheduler.Scheduler, "prune", lambda self: removed.append(self))
    monkeypatch.setattr(scheduler, "_pruned_at", float("-inf"))
    for _ in range(5):
        scheduler.get_work(worker=WORKER, host="here")
    assert removed == [scheduler]
