"""Tasks with a pool whose hosts do not respond, or are not needed."""

from __future__ import annotations

import contextlib
import functools
import queue

import luigi
import pytest

from luigi_sshjob.errors import HostUnreachable, LoginNeeded
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.pool import Placement
from luigi_sshjob.jobs.pool_host import write
from luigi_sshjob.tasks import hosts, pool_requests
from luigi_sshjob.worker.host_choice import HostChoice
from luigi_sshjob.worker.threads import PriorityThreadPool

from support.pool_tasks import Named
from support.settings import configure

pytestmark = [pytest.mark.needs("logins"), pytest.mark.needs_docker]


class Message:
    """One of Luigi's scheduler messages."""

    response = ""

    def __str__(self) -> str:
        return "cancel"

    def respond(self, response: str) -> None:
        self.response = response


WAITING = {"host": ["127.0.0.1:9", "127.0.0.2:9"], "folder": "unused"}


def has_answered(message: Message) -> bool:
    return message.response.startswith("host 127.0.0.1:9, job Named_")


def test_a_task_that_waits_for_a_host_answers_messages(luigi_cfg):
    configure(unreachable_timeout=3)
    task, message = Named(**WAITING), Message()
    task.scheduler_messages = queue.Queue()
    task.scheduler_messages.put(message)
    with pytest.raises(HostUnreachable, match="no host of the pool can be used"):
        task.run()
    assert has_answered(message)


def test_a_task_without_a_process_that_waits_for_a_host_answers_messages(luigi_cfg):
    task, message = Named(**WAITING), Message()
    task.scheduler_messages = queue.Queue()
    task.scheduler_messages.put(message)
    main_thread = queue.Queue()
    with contextlib.closing(PriorityThreadPool("tests", max_threads=1)) as pool:
        then = functools.partial(pytest.fail, "a host")
        choice = HostChoice(task, {}, then, in_main_thread=main_thread.put, threads=lambda: pool)
        choice.begin()
        while not message.response:
            main_thread.get(timeout=60)()
        choice.abandon()
    assert has_answered(message)


def test_many_tasks_wait_for_their_host_as_long_as_one(gpus, impatient, monkeypatch):
    tasks = [Named(host=gpus.names, folder=gpus.folder, number=number) for number in range(3)]
    with hosts.on_host(tasks[0], "gpu02"):
        connection = tasks[0].remote_context.connection
    write(connection, "~/.luigi-sshjob", {job_key(task.task_id): Placement(1, "gpu01", 0) for task in tasks})
    gpus.lose("gpu01")
    waits, wait_for = [], pool_requests.ParallelRequests.wait_for
    monkeypatch.setattr(
        pool_requests.ParallelRequests, "wait_for", lambda each, names: waits.extend(names) or wait_for(each, names)
    )
    for task in tasks:
        with pytest.raises(HostUnreachable, match="the task was placed on this host, which is unreachable"):
            task.complete()
    # for one of the two requests of the first one
    assert set(waits) == {"gpu01"}
    assert len(waits) == 2


def test_hosts_that_are_all_slow_are_waited_for(gpus, monkeypatch):
    monkeypatch.setattr(pool_requests, "RESPONSE_TIMEOUT", 0.01)
    assert not Named(host=gpus.names, folder=gpus.folder).complete()


def test_outputs_that_are_not_on_the_hosts_need_no_host(luigi_cfg, tmp_path):
    class Local(Named):
        def output(self):
            return luigi.LocalTarget(tmp_path / "made")

    task = Local(host=["127.0.0.1:9", "127.0.0.2:9"], folder="unused")
    assert not task.complete()
    (tmp_path / "made").touch()
    assert task.complete()


def test_a_login_that_all_hosts_need_is_reported_once(gpus, monkeypatch):
    configure(unreachable_timeout=2)

    def needs(connection, *words, **options):
        raise LoginNeeded("a person has to log in", host=connection.host, next_step="log in there")

    monkeypatch.setattr(pool_requests, "look", needs)
    said = []

    class Needing(Named):
        def on_login_needed(self, error):
            said.append(str(error))

    with pytest.raises(LoginNeeded, match="no host responds, and one needs a login: gpu01"):
        Needing(host=gpus.names, folder="unused").run()
    assert len(said) == 1
    assert "\nNext: log in there" in said[0]
