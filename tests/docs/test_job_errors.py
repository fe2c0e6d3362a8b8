"""Errors of jobs: they cannot be submitted, cancelled or collected, or they end badly."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.errors import JobLost, SSHJobError

from support import processes
from support.error_producers import assert_complete


@pytest.mark.needs_docker
def test_an_unwritable_job_directory_is_named(env, bench):
    env.host.run("sh", "-c", f"mkdir -m 700 -p {bench.folder} && mkdir -m 500 {bench.folder}/lib")
    said = []
    try:
        bench.submit("true")
    except SSHJobError as error:
        said.append(error)
    env.host.run("chmod", "700", f"{bench.folder}/lib")
    env.host.run("sh", "-c", f"mkdir -p {bench.folder}/jobs/Task && chmod 500 {bench.folder}/jobs/Task")
    try:
        bench.submit("true")
    except SSHJobError as error:
        said.append(error)
    env.host.run("chmod", "700", f"{bench.folder}/jobs/Task")
    scripts_refused, place = said
    assert_complete(scripts_refused, "cannot install the scripts of luigi_sshjob")
    assert scripts_refused.problem.endswith(": Permission denied")
    assert_complete(place, "cannot move the job directory to its path")
    assert (place.job, place.doing) == ("Task", "submitting it")
    assert place.next_step.endswith("nothing was submitted")


@pytest.mark.needs_docker
def test_a_job_that_cannot_be_cancelled_or_collected_is_named(env, bench):
    job = bench.submit("sleep 541").job
    processes.wait_until(lambda: bench.running("sleep 541"), "the command")
    env.host.run("sed", "-i.bak", "s/^boot: .*/boot: another.1/", f"{job.directory}/identity")
    with pytest.raises(SSHJobError) as caught:
        bench.monitor.cancel(job, 0)
    assert_complete(caught.value, "the job cannot be cancelled from this host")
    env.host.run("mv", f"{job.directory}/identity.bak", f"{job.directory}/identity")
    with pytest.raises(SSHJobError) as caught:
        bench.client.remove(job)
    assert_complete(caught.value, "the job has not ended, or its outcome was not collected")
    assert (caught.value.job, caught.value.doing) == (job.id, "removing it")
    env.host.run("kill", *(str(pid) for pid, args in env.host.processes() if "sleep 541" in args))
    assert not bench.monitor.wait(job, lambda _: None).succeeded
    env.host.run("chmod", "500", job.directory)
    with pytest.raises(SSHJobError) as caught:
        bench.client.collect(job)
    env.host.run("chmod", "700", job.directory)
    assert_complete(caught.value, "cannot mark the outcome as collected in")


class Ends(RemoteJobTask):
    host = luigi.Parameter()
    how = luigi.Parameter()
    base_dir = luigi.Parameter()

    @property
    def time_limit(self):
        return 1 if self.how == "sleep 531" else None

    def command(self):
        return self.how


def test_each_bad_end_is_an_error_with_job_and_next_step(env, folder):
    """All at once: their ends are waited for together."""
    hows = {
        "it failed with exit code": "exit 3",
        "it was killed by signal": "kill -9 $$",
        "it was ended by a limit": "sleep 531",
        "it was cancelled": "sleep 532",
        "it was lost": "sleep 533",
    }
    said: dict[str, Any] = {}

    def run(sentence: str) -> None:
        try:
            tasks[sentence].run()
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            said[sentence] = error

    tasks = {sentence: Ends(env.host.alias, how, f"{folder}/jobs") for sentence, how in hows.items()}
    threads = [threading.Thread(target=run, args=(sentence,)) for sentence in hows]
    for thread in threads:
        thread.start()

    def running(text: str) -> list[int]:
        return [pid for pid, args in env.host.processes() if text in args]

    processes.wait_until(lambda: bool(running("sleep 532") and running("sleep 533")), "the jobs")
    tasks["it was cancelled"].job.cancel()
    directory = tasks["it was lost"].job.directory
    env.host.run("sh", "-c", f"kill -9 {' '.join(map(str, [*running(directory), *running('sleep 533')]))}")
    for thread in threads:
        thread.join(60)
    for sentence in hows:
        assert_complete(said[sentence], sentence)
        assert said[sentence].job == tasks[sentence].job.id
        assert f"`luigi-sshjob logs --base-dir {folder}/jobs " in said[sentence].next_step
    assert isinstance(said["it was lost"], JobLost)


def test_an_account_without_a_name_can_submit(env, bench, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    nobody = SimpleNamespace(getpwuid=lambda _: (_ for _ in ()).throw(KeyError("uid not found")))
    monkeypatch.setitem(sys.modules, "pwd", nobody)
    assert bench.run("true")[0].succeeded
