"""Pools of hosts: an attempt is made once, or where it can be, whatever happens to hosts, files and other clients."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

import luigi
import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConnectionLost, InvalidResponse, RemoteCommandFailed
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.tasks import choosing, completion, load_balancer, placements, pool_requests

from support import processes
from support.pool_tasks import Made, Named, forget_bindings, killed, silent
from support.settings import configure
from support.worker_runs import set_option

pytestmark = [
    pytest.mark.needs("logins"),
    pytest.mark.needs_docker,
    pytest.mark.usefixtures("impatient", "information"),
]

WITHOUT_PROCESS = pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)


class MadeTask(Made):
    host = luigi.ListParameter(significant=False)
    folder = luigi.Parameter(significant=False)


def prefer(name: str, others: int = 0) -> None:
    """Has that host the most slots; a process with siblings might still choose another one that has any."""
    for each in ("gpu01", "gpu02"):
        set_option(f"sshjob.{each}", slots="gpu:8" if each == name else f"gpu:{others}")


@pytest.fixture
def elsewhere(tmp_path):
    """Returns a function that calls another one in a process of another machine; returns one that waits for its end."""
    left = set()

    def start(machine: str, call: Callable[[], object]) -> Callable[[], None]:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.environ["XDG_STATE_HOME"] = str(tmp_path / machine)
                call()
            finally:
                os._exit(0)
        left.add(pid)

        def wait() -> None:
            os.waitpid(pid, 0)
            left.remove(pid)

        return wait

    yield start
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def delayed(call, begun, resume):
    """Has the call create the file `begun`, and wait for the file `resume`."""

    def late(*arguments, **options):
        begun.touch()
        processes.wait_until(resume.exists, "the end of the delay", 60)
        return call(*arguments, **options)

    return late


@pytest.mark.needs("flock")
@WITHOUT_PROCESS
def test_a_client_whose_placements_are_late_claims_nothing_without_them(gpus, build, elsewhere, tmp_path):
    task = Named(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    begun, resume, again = (tmp_path / name for name in ("begun", "resume", "again"))

    def slow() -> None:
        prefer("gpu01")
        placements.write = delayed(placements.write, begun, resume)
        look = choosing.look_at

        def counted(*arguments, **options):
            if begun.exists():
                again.touch()
            return look(*arguments, **options)

        choosing.look_at = counted
        build(task)

    first = elsewhere("A", slow)
    processes.wait_until(begun.exists, "a placement", 60)

    def other() -> None:
        prefer("gpu02")
        build(task)

    second = elsewhere("B", other)
    assert gpus.wait_until_begun() == "gpu02"
    # the first one does not wait for the response any more
    processes.wait_until(again.exists, "another look", 60)
    resume.touch()
    gpus.create("go")
    first()
    second()
    assert gpus.begun() == {"gpu02": ["1"]}


@WITHOUT_PROCESS
def test_hosts_with_different_placements_get_one_before_the_claim(gpus, build, elsewhere, tmp_path):
    # B has looked, then A, which does not reach gpu01, places the task on gpu02 and is killed
    task = Named(host=gpus.names, folder=gpus.folder)
    begun, resume = tmp_path / "begun", tmp_path / "resume"

    def late() -> None:
        load_balancer.rank = lambda capacities, *_, **options: sorted(capacities)
        choosing.agree = delayed(choosing.agree, begun, resume)
        os.environ["SSHJOB_TEST_STOP"] = "after claim"
        build(task)

    wait = elsewhere("B", late)
    processes.wait_until(begun.exists, "B", 60)

    def partial() -> None:
        pool_requests.look = silent(pool_requests.look, "gpu01")
        os.environ["SSHJOB_TEST_STOP"] = "after placements"
        build(task)

    elsewhere("A", partial)()
    resume.touch()
    wait()
    assert gpus.wait_until_begun() == "gpu02"
    assert [gpus.run(name, "cat .luigi-sshjob/pools/*/2/placement") for name in gpus.names] == ["gpu02 0\n"] * 2
    # so nobody is misled when that host is gone
    gpus.lose("gpu02")
    elsewhere("C", lambda: build(task))()
    assert gpus.begun() == {"gpu02": ["1"]}


@WITHOUT_PROCESS
def test_an_attempt_of_a_time_without_a_pool_keeps_its_host_once_it_was_found(gpus, build, caplog):
    killed(build, Named(host=["gpu02"], folder=gpus.folder), "after claim")
    assert gpus.wait_until_begun() == "gpu02"
    forget_bindings()
    # another run attaches, and is killed
    killed(build, Named(host=gpus.names, folder=gpus.folder), "after claim")
    gpus.lose("gpu02")
    forget_bindings()
    task = Named(host=gpus.names, folder=gpus.folder)
    assert not build(task)
    assert "host gpu02, job Named_" in caplog.text
    assert gpus.begun() == {"gpu02": ["1"]}


@WITHOUT_PROCESS
def test_an_attempt_keeps_its_host_when_the_list_gets_longer(gpus, build, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(pool_requests, "look", silent(pool_requests.look, "gpu02"))
        killed(build, Named(host=gpus.names, folder=gpus.folder), "after claim")
    assert gpus.wait_until_begun() == "gpu01"
    forget_bindings()
    gpus.lose("gpu01")
    assert not build(Named(host=[*gpus.names, "127.0.0.1:9"], folder=gpus.folder))
    assert gpus.begun() == {"gpu01": ["1"]}


@pytest.mark.needs("flock")
@WITHOUT_PROCESS
def test_after_a_failure_that_was_reported_another_host_is_used_if_that_one_breaks(gpus, build):
    class Failing(Named):
        def command(self):
            return f'mkdir -p {self.folder} && echo "$SSHJOB_ID" >>{self.folder}/ledger; exit 7'

    task = Failing(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    prefer("gpu01", others=1)
    assert not build(task)
    gpus.lose("gpu01")
    forget_bindings()
    assert not task.complete()
    assert not build(task)
    assert gpus.begun() == {"gpu01": ["1"], "gpu02": ["1"]}


@WITHOUT_PROCESS
def test_a_later_attempt_keeps_its_host_after_an_earlier_one_has_failed(gpus, build):
    name = gpus.names[0]
    gpus.run(name, f"mkdir -p {gpus.folder} && touch {gpus.folder}/fail")
    only, both = ({"host": each, "folder": gpus.folder} for each in ([name], gpus.names))
    killed(build, Named(**only), "after claim")
    assert not build(Named(**both))
    # another one on the same host, without a new placement; a run with the pool attaches to it
    gpus.run(name, f"rm {gpus.folder}/fail")
    killed(build, Named(**only), "after claim")
    processes.wait_until(lambda: gpus.begun()[name] == ["1", "2"], "the second attempt", 60)
    killed(build, Named(**both), "after claim")
    gpus.lose(name)
    forget_bindings()
    assert not build(Named(**both))
    assert gpus.begun() == {name: ["1", "2"]}


@WITHOUT_PROCESS
def test_the_host_of_an_attempt_may_take_longer_than_the_others(gpus, build, monkeypatch):
    look = pool_requests.look

    def slow(connection, *words, **options):
        if connection.host == "gpu02":
            time.sleep(2 * pool_requests.RESPONSE_TIMEOUT)
        return look(connection, *words, **options)

    killed(build, Named(host=["gpu02"], folder=gpus.folder), "after claim")
    killed(build, Named(host=gpus.names, folder=gpus.folder), "after claim")
    monkeypatch.setattr(pool_requests, "look", slow)
    # it attaches, and later finds the record
    killed(build, Named(host=gpus.names, folder=gpus.folder), "after claim")
    gpus.create("go")
    for _ in range(2):
        forget_bindings()
        task = Named(host=gpus.names, folder=gpus.folder)
        assert build(task)
    assert task.complete()
    assert gpus.begun() == {"gpu02": ["1"]}


@pytest.mark.needs("flock")
@WITHOUT_PROCESS
def test_a_client_that_was_suspended_makes_no_attempt_for_an_old_placement(gpus, build, elsewhere, tmp_path, caplog):
    # A has a placement on gpu01, and is suspended; another machine runs the task there, and again on gpu02; gc removes
    # the first attempt
    prefer("gpu01")
    gpus.create("go")
    task = MadeTask(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    begun, resume = tmp_path / "begun", tmp_path / "resume"

    def suspended() -> None:
        JobClient.submit = delayed(JobClient.submit, begun, resume)
        build(task)

    wait = elsewhere("A", suspended)
    processes.wait_until(begun.exists, "A", 60)
    assert build(task)
    assert gpus.begun() == {"gpu01": ["1"]}
    gpus.run("gpu01", f"rm {gpus.folder}/made-0 {gpus.folder}/ledger")
    prefer("gpu02")
    killed(build, task, "after claim")
    assert main(["gc", "gpu01", "--older-than", "0s"]) == 0
    assert gpus.run("gpu01", "ls .luigi-sshjob/jobs") == ""
    resume.touch()
    wait()
    assert gpus.begun() == {"gpu02": ["1"]}
    # and the host may be chosen again
    forget_bindings()
    prefer("gpu01")
    for name in gpus.names:
        gpus.run(name, f"rm -f {gpus.folder}/made-0 {gpus.folder}/ledger")
    caplog.clear()
    assert build(task)
    assert gpus.begun() == {"gpu01": ["2"]}


@pytest.mark.needs("flock")
@WITHOUT_PROCESS
def test_a_host_that_refuses_files_is_left_to_others_even_if_it_was_never_used(gpus, build, caplog):
    prefer("gpu01", others=1)
    gpus.create("go")
    gpus.run("gpu01", "mkdir -p -m 700 .luigi-sshjob && mkdir -m 500 .luigi-sshjob/jobs")
    assert build(Named(host=gpus.names, folder=gpus.folder, slots={"gpu": 1}))
    assert re.search(r"not gpu01: no file can be written there: Permission denied", caplog.text)
    set_option("sshjob.gpu01", slots="gpu:8", base_dir=f"{gpus.folder}/locked/new")
    gpus.run("gpu01", f"mkdir -m 500 {gpus.folder}/locked")
    assert build(Named(host=gpus.names, folder=gpus.folder, number=1, slots={"gpu": 1}))
    assert gpus.begun() == {"gpu02": ["1", "1"]}


@WITHOUT_PROCESS
def test_damage_of_one_placement_stops_one_task(gpus, build):
    gpus.create("go")
    damaged = job_key(Named(host=gpus.names, folder=gpus.folder, number=2).task_id)
    place = f".luigi-sshjob/pools/{damaged}/1"
    gpus.run("gpu01", f"umask 077; mkdir -p {place} && head -c 9 /dev/zero >{place}/placement")
    tasks = [Named(host=gpus.names, folder=gpus.folder, number=number) for number in range(4)]
    assert build(tasks[0], tasks[1])
    completion.expect(tasks)
    try:
        assert [task.complete() for task in tasks if task.number != 2] == [True, True, False]
        with pytest.raises(InvalidResponse, match=rf"host gpu01, job {damaged}: the placement of the task is damaged"):
            tasks[2].complete()
    finally:
        completion.forget()
    with pytest.raises(InvalidResponse, match=rf"pools/{damaged}/1\nNext: .* remove that directory below base_dir"):
        tasks[2].run()
    gpus.run("gpu01", f"rm -r {place}")
    assert build(*tasks)
    assert sum(map(len, gpus.begun().values())) == 4


def test_without_a_confirmed_placement_nothing_is_claimed(gpus, monkeypatch):
    configure(unreachable_timeout=1)

    def lost(connection, *words):
        raise ConnectionLost("the response is lost", host=connection.host)

    monkeypatch.setattr(placements, "write", lost)
    with pytest.raises(ConnectionLost, match="a host has not confirmed the placement of the task"):
        Named(host=gpus.names, folder=gpus.folder).run()
    assert not gpus.begun()


@pytest.mark.needs("flock")
def test_a_host_that_refuses_its_own_placement_gets_no_attempt(gpus, monkeypatch):
    prefer("gpu01", others=1)
    write = placements.write

    def refused(connection, *words):
        # after it was looked at
        gpus.run("gpu01", "mkdir -p -m 700 .luigi-sshjob/pools && chmod 500 .luigi-sshjob/pools")
        return write(connection, *words)

    monkeypatch.setattr(placements, "write", refused)
    task = Named(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    with pytest.raises(
        RemoteCommandFailed, match=rf"job {job_key(task.task_id)}: cannot write the placement of a task"
    ):
        task.run()
    # nor do other tasks wait for it
    assert not Named(host=gpus.names, folder=gpus.folder, number=1).complete()
    assert not gpus.begun()
    gpus.run("gpu01", "chmod 700 .luigi-sshjob/pools")


@pytest.mark.needs("flock")
@WITHOUT_PROCESS
def test_a_task_that_was_only_looked_at_is_found_where_another_process_has_run_it(gpus, build, elsewhere, monkeypatch):
    prefer("gpu01")
    task = MadeTask(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    assert build(task)
    forget_bindings()
    task = MadeTask(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})
    looks, look = [], pool_requests.look
    monkeypatch.setattr(pool_requests, "look", lambda *words, **options: looks.append(words) or look(*words, **options))
    assert [task.job.host, task.output().fs.remote_context.host, task.remote_context.host] == ["gpu01"] * 3
    assert len(looks) == 2
    gpus.run("gpu01", f"rm {gpus.folder}/made-0")
    prefer("gpu02")
    elsewhere("B", lambda: build(MadeTask(host=gpus.names, folder=gpus.folder, slots={"gpu": 1})))()
    assert gpus.begun() == {"gpu01": ["1"], "gpu02": ["1"]}
    processes.wait_until(lambda: task.output().exists(), "the output on the other host", 30)
    assert task.job.host == "gpu02"
