"""The `luigi-sshjob` command."""

from __future__ import annotations

import subprocess
import sys

import processes
import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli import main
from luigi_sshjob.control import JobControl
from luigi_sshjob.launchers import launcher_named
from luigi_sshjob.request import JobRequest


@pytest.fixture
def submit(host, luigi_cfg):
    control = JobControl(RemoteContext(host.alias).connection, "~/.luigi-sshjob", launcher_named("nohup"))

    def submit(key: str, command: str):
        job = control.submit(JobRequest(key=key, command=command)).job
        processes.wait_until(lambda: control.look(job).state.value != "claimed", "the supervisor")
        return job

    yield submit
    for job in [job.id for job, state, _ in control.list() if not state.final]:
        main(["kill", host.alias, job])
    host.run("rm", "-rf", ".luigi-sshjob")


def test_jobs_are_listed_with_their_state(host, submit, capsys):
    submit("Ended", "exit 3")
    submit("Going", "sleep 511")
    processes.wait_until(lambda: not any(args.endswith("Ended/1 0022") for _, args in host.processes()), "its end")
    assert main(["ls", host.alias]) == 0
    assert capsys.readouterr().out == "Ended/1\tfailed with exit code 3\nGoing/1\trunning\n"


def test_a_log_is_printed_as_far_as_it_is_and_followed_to_its_end(host, submit, capfdbinary):
    submit("Task", "printf 'a\\377b'; while ! [ -e go ]; do sleep 0.1; done; rm go; echo c; exit 4")

    def shown() -> bytes:
        assert main(["logs", host.alias, "Task"]) == 0
        return capfdbinary.readouterr().out

    processes.wait_until(lambda: shown() == b"a\xffb", "the first bytes")
    host.run("touch", "go")
    assert main(["logs", "-f", host.alias, "Task/1"]) == 1
    printed = capfdbinary.readouterr()
    assert printed.out == b"a\xffbc\n"
    assert printed.err.decode().endswith("Task/1 failed with exit code 4\n")


def test_jobs_are_killed_all_that_are_named_or_none(host, submit, capsys):
    submit("One", "sleep 521")
    submit("Two", "sleep 522")
    assert main(["kill", host.alias, "One", "None", "Two"]) == 3
    said = capsys.readouterr().err
    assert f"host {host.alias}, job None: there is no such job\nNext: look with `luigi-sshjob ls {host.alias}`" in said
    assert any("sleep 521" in args for _, args in host.processes())
    assert main(["kill", host.alias, "One", "Two/1"]) == 0
    assert not any("sleep 52" in args for _, args in host.processes())
    assert capsys.readouterr().out.startswith("One/1 was cancelled: by ")


def test_a_reader_that_has_seen_enough_is_no_error(host, submit):
    submit("Task", "head -c 5000000 /dev/zero | tr '\\0' x; exit 0")
    command = [sys.executable, "-m", "luigi_sshjob.cli", "logs", "-f", host.alias, "Task"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(3) == b"xxx"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_a_host_that_is_none_is_an_error_with_a_next_step(luigi_cfg, capsys):
    assert main(["ls", "no-such-host.invalid"]) == 3
    assert "Next: check the spelling" in capsys.readouterr().err
