"""Pools of hosts: a task runs once on one of them, whatever is killed or cut at each step."""

from __future__ import annotations

import json
import re
import threading
import time

import luigi
import luigi.task_register
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.pool import Placement
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.tasks import choosing, hosts, placements, pool_requests, retries
from luigi_sshjob.tasks.status import StatusReporter

from support import processes
from support.luigi_command import finished
from support.pool_tasks import Made, Named, Pooled, Using, forget_bindings, killed, silent
from support.settings import configure
from support.worker_runs import set_option

pytestmark = [pytest.mark.needs("logins"), pytest.mark.needs_docker, pytest.mark.usefixtures("information")]


@pytest.fixture
def start(gpus, start_luigi):
    """Returns a function that starts a `luigi` command on a task of the pool."""

    def start(*more: str):
        place = ["--host", json.dumps(gpus.names), "--folder", gpus.folder, "--local-scheduler", "--workers", "2"]
        return start_luigi("--module", "support.pool_tasks", "Pooled", *place, *more)

    return start


def wait_for(process, text: str) -> None:
    processes.wait_until(lambda: re.search(text, process.log.read_text()), f"{text} in the log", 60)


@pytest.mark.core
def test_a_task_runs_on_one_host_of_its_pool_and_is_found_there(gpus, build, caplog, capsys):
    gpus.create("go")
    task = Pooled(gpus.names, gpus.folder)
    assert not task.complete()
    assert build(task)
    assert task.complete()
    ((name, numbers),) = gpus.begun().items()
    assert numbers == ["1"]
    (chosen,) = [text for text in caplog.messages if ": chose " in text]
    assert re.search(rf": chose {name}: load \d+\.\d\d per processor; not gpu0\d: load", chosen)
    # by the same process, by another one, and on the command line
    for _ in range(2):
        assert task.job.host == task.remote_context.host == task.output()["log"].fs.remote_context.host == name
        assert task.output()["exit_record"].exists()
        forget_bindings()
        task = Pooled(list(gpus.names), gpus.folder)
    assert task.complete()
    assert main(["ls", "--json"]) == 0
    assert [(each["host"], each["job"]) for each in json.loads(capsys.readouterr().out)] == [(name, task.job.id)]
    # the next run is another attempt, for which a host is chosen again
    gpus.run(name, f"rm {task.output()['exit_record'].path}")
    assert not task.complete()
    assert build(task)
    assert sum(map(len, gpus.begun().values())) == 2


STEPS = [
    *["before look", "after look", "before placement", "after placement", "after placements"],
    *["before claim", "after claim", "before collect"],
]
MODES = ["a process for each", "no process"]


@pytest.mark.parametrize(
    ("step", "remote_jobs"), [(step, MODES[number % 2]) for number, step in enumerate(STEPS)], indirect=["remote_jobs"]
)
def test_a_worker_killed_at_any_step_leaves_one_attempt_on_one_host(gpus, build, step):
    if step == "before collect":
        gpus.create("go")
    task = Pooled(gpus.names, gpus.folder)
    killed(build, task, step)
    gpus.create("go")
    assert build(task)
    assert list(gpus.begun().values()) == [["1"]]


@pytest.mark.parametrize("step", ["look", "write", "submit"])
def test_a_lost_response_is_resolved_on_the_same_host(gpus, build, monkeypatch, step):
    gpus.create("go")
    owner = {"look": pool_requests, "write": placements, "submit": JobClient}[step]
    call, lost = getattr(owner, step), []

    def losing(first, *rest, **options):
        name = (first.connection if step == "submit" else first).host
        if name not in lost:
            lost.append(name)
            # the request arrives
            gpus.proxies[name].cut_after(received=1)
        return call(first, *rest, **options)

    monkeypatch.setattr(owner, step, losing)
    assert build(Pooled(gpus.names, gpus.folder))
    assert len(lost) == (1 if step == "submit" else 2)
    assert list(gpus.begun().values()) == [["1"]]


def test_of_two_workers_at_once_one_submits_and_the_other_attaches(gpus, start):
    both = [start("--number", "3") for _ in range(2)]
    for run in both:
        wait_for(run, r"(submitted as|attached to) \S+/1 ")
    gpus.create("go")
    text = "".join(map(finished, both))
    assert (text.count(" submitted as "), text.count(" attached to ")) == (1, 1)
    assert list(gpus.begun().values()) == [["1"]]


def test_hosts_that_share_the_directory_run_a_task_once(shared, build, caplog):
    shared.create("go")
    for _ in range(2):
        assert build(*[Pooled(shared.names, shared.folder, number) for number in range(4)])
        forget_bindings()
    assert sorted(set(shared.ledger("gpu01"))) == sorted(shared.ledger("gpu01"))
    assert len(shared.ledger("gpu01")) == 4


@pytest.mark.parametrize("remote_jobs", MODES[:1], indirect=True)
def test_a_host_that_does_not_respond_is_left_out_within_seconds(gpus, start):
    gpus.create("go")
    gpus.proxies["gpu01"].silence()
    began = time.monotonic()
    text = finished(start())
    # to see whether it is complete, and to start Python; the choice does not wait again
    assert time.monotonic() - began < 3 * pool_requests.RESPONSE_TIMEOUT
    assert gpus.begun() == {"gpu02": ["1"]}
    assert re.search(r": chose gpu02: load .*; left out: gpu01 \(no response within \d+ s\)", text)


@pytest.mark.parametrize("remote_jobs", MODES[1:], indirect=True)
def test_the_host_of_an_attempt_is_waited_for_and_no_other_gets_the_job(gpus, build, impatient, caplog, monkeypatch):
    configure(connect_timeout=2)
    task = Pooled(gpus.names, gpus.folder)
    killed(build, task, "after claim")
    name = gpus.wait_until_begun()
    request, seen = choosing.request_for, []

    def silence(*arguments):
        close_shells()
        gpus.proxies[name].cut()
        gpus.proxies[name].silence()
        threading.Thread(target=restore).start()
        return request(*arguments)

    def restore() -> None:
        processes.wait_until(lambda: re.search("runs on another host\nRetrying", caplog.text), "the outage", 60)
        gpus.create("go")
        seen.append(gpus.begun())
        gpus.proxies[name].restore()

    monkeypatch.setattr(choosing, "request_for", silence)
    assert build(task)
    assert re.search(rf"host {name}, .*: the task was placed on this host, which is unreachable: ", caplog.text)
    assert re.search(
        r"\nNext: .*remove it from `host` of the task; the task then runs on another host\nRetrying", caplog.text
    )
    assert re.search(r"attached to \S+/1 ", caplog.text)
    # the other one has responded, and got no job
    assert seen == [{name: ["1"]}] == [gpus.begun()]


def test_a_host_that_comes_back_gets_no_job_while_that_of_the_attempt_is_gone(gpus, build, impatient, monkeypatch):
    task = Pooled(gpus.names, gpus.folder)
    with monkeypatch.context() as patched:
        patched.setattr(pool_requests, "look", silent(pool_requests.look, "gpu02"))
        killed(build, task, "after claim")
    assert gpus.wait_until_begun() == "gpu01"
    forget_bindings()
    gpus.proxies["gpu01"].silence()
    task = Pooled(gpus.names, gpus.folder)
    # gpu02 knows nothing of it, but this machine does
    with pytest.raises(HostUnreachable, match="the task was placed on this host, which is unreachable"):
        task.complete()
    assert not build(task)
    gpus.proxies["gpu01"].restore()
    gpus.create("go")
    assert gpus.begun() == {"gpu01": ["1"]}


def test_an_attempt_without_a_placement_is_attached_to(gpus, build):
    for name, count in zip(gpus.names, (8, 1), strict=True):
        set_option(f"sshjob.{name}", slots=f"gpu:{count}")
    # of a time when the task had one host, the worse one
    killed(build, Named(host=["gpu02"], folder=gpus.folder, slots={"gpu": 1}), "after claim")
    forget_bindings()
    gpus.create("go")
    assert build(Named(host=gpus.names, folder=gpus.folder, slots={"gpu": 1}))
    assert gpus.begun() == {"gpu02": ["1"]}


def test_a_host_that_never_comes_back_is_removed_from_the_pool(gpus, build, impatient, caplog):
    task = Named(host=gpus.names, folder=gpus.folder)
    placements.write(*_place(gpus, "gpu02"), {job_key(task.task_id): Placement(1, "gpu01", 0)})
    gpus.proxies["gpu01"].silence()
    gpus.create("go")
    with pytest.raises(HostUnreachable, match="the task was placed on this host, which is unreachable"):
        task.complete()
    luigi.task_register.Register.clear_instance_cache()
    assert build(Named(host=("gpu02", "gpu03"), folder=gpus.folder))
    assert (
        "its last attempt was made on gpu01, which is not one of its hosts any more, and is not waited" in caplog.text
    )
    assert gpus.begun() == {"gpu02": ["1"]}


def _place(gpus, name: str):
    with hosts.on_host(task := Pooled(gpus.names, gpus.folder), name):
        return task.remote_context.connection, "~/.luigi-sshjob"


@pytest.mark.needs("flock")
def test_a_host_that_keeps_no_placement_does_not_keep_a_task_from_the_others(gpus, build, caplog):
    gpus.create("go")
    gpus.run("gpu01", "mkdir -p -m 700 .luigi-sshjob && mkdir -m 500 .luigi-sshjob/pools")
    for name, count in zip(gpus.names, (8, 1), strict=True):
        set_option(f"sshjob.{name}", slots=f"gpu:{count}")
    assert build(Pooled(gpus.names, gpus.folder, slots={"gpu": 1}))
    said = r"no placement was written on gpu01 \(cannot write the placement of a task: .*denied"
    assert re.search(said, caplog.text)
    assert gpus.begun() == {"gpu02": ["1"]}


def test_without_any_host_a_task_waits_and_then_fails(luigi_cfg, build, caplog, monkeypatch):
    configure(unreachable_timeout=4)
    reported = []
    monkeypatch.setattr(StatusReporter, "report_unreachable", lambda reporter, error: reported.append(error))

    class Unlisted(Pooled):
        def complete(self):
            return False

    # nothing listens there
    assert not build(Unlisted(["127.0.0.1:9", "127.0.0.2:9"], "unused"))
    place = r"host 127.0.0.1:9,127.0.0.2:9, job Unlisted\S+"
    assert re.search(rf"{place}: no host of the pool can be used: 127.0.0.1:9 \(.*; 127.0.0.2:9 \(", caplog.text)
    assert reported


@pytest.mark.needs("flock")
def test_slots_decide_and_many_tasks_share_a_look(gpus, build, monkeypatch, remote_jobs):
    gpus.create("go")
    set_option("sshjob.gpu01", slots="gpu:8")
    set_option("sshjob.gpu02", slots="gpu:16", base_dir=f"{gpus.folder}/base")
    looks, look = [], pool_requests.look
    monkeypatch.setattr(pool_requests, "look", lambda *words, **options: looks.append(words) or look(*words, **options))
    before = {name: each.accepted_logins() for name, each in gpus.hosts.items()}
    count = 24 if remote_jobs else 3
    tasks = [Pooled(gpus.names, gpus.folder, number, slots={"gpu": 1}) for number in range(count)]
    assert build(*tasks)
    begun = gpus.begun()
    assert sum(map(len, begun.values())) == count
    assert [each.accepted_logins() - before[name] for name, each in gpus.hosts.items()] == [1, 1]
    assert tasks[0].complete()
    if remote_jobs:
        assert (len(begun["gpu01"]), len(begun["gpu02"])) == (8, 16)
        # with those of complete()
        assert len(looks) <= 16
        assert gpus.run("gpu02", f"ls {gpus.folder}/base/jobs").split()


def test_outputs_of_a_task_are_found_on_its_host(gpus, build, tmp_path):
    using = Using(gpus.names, gpus.folder, str(tmp_path / "read"))
    assert build(using)
    (name,) = gpus.begun()
    with using.output().open() as file:
        assert file.read() == gpus.run(name, "hostname")
    forget_bindings()
    assert Made(gpus.names, gpus.folder).complete()
    assert build(Made(gpus.names, gpus.folder))
    gpus.run(name, f"rm {gpus.folder}/made-0")
    assert not Made(gpus.names, gpus.folder).complete()


def test_a_retry_is_made_on_the_same_host(gpus, build, monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.1)
    for name in gpus.names:
        gpus.run(name, f"mkdir -p {gpus.folder} && touch {gpus.folder}/die {gpus.folder}/go")
    task = Pooled(gpus.names, gpus.folder, retries={"lost": 1})
    assert build(task)
    assert list(gpus.begun().values()) == [["1", "2"]]
    assert task.previous.label == "lost 1/1"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "the task has no host"),
        (["a", "a"], "a host is named twice: a and a"),
        (["a:22", "a:022"], "a host is named twice: a:22 and a:022"),
        (["a", 3], "an entry of `host` is not a host name"),
        ((None, "a"), "an entry of `host` is not a host name"),
        (["a", "b c"], "invalid host name"),
    ],
)
def test_a_pool_of_anything_but_different_hosts_is_an_error(value, problem):
    class Wrong(RemoteJobTask):
        host = value

        def command(self):
            return "true"

    for use in (Wrong().complete, Wrong().output, Wrong().run):
        with pytest.raises(ConfigurationError, match=rf"{problem}[\s\S]*\nNext: "):
            use()
