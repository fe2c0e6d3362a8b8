"""Damaged responses: each public call gives a value or an error of this package, and the watcher survives.

Real responses are recorded and then damaged, between the remote shell and its callers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random

import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.cli.commands.doctor import _report_dict
from luigi_sshjob.doctor.runner import run_checks
from luigi_sshjob.errors import InvalidResponse, SSHJobError
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart, ShellProtocol

from support import processes
from support.settings import configure

_VALUES = ["", "-1", "99999999999999999999999", "9" * 5000, "nan", "inf", "²", "\udcff", "x y z", "scheduled", "ended"]
_CONTENTS = [b"", b"\xff\0\n", b"x", b"\n" * 5, b"outcome: x\nexit_code: " + b"9" * 5000, b"9" * 5000, b"/"]


def _damage(response: Response, chance: random.Random) -> Response:
    """Drop or repeat a part, or change its kind, index, value or content, or the status or the output."""
    parts = list(response.parts)
    if not parts or chance.random() < 0.2:
        other = (
            {"output": chance.choice(_CONTENTS)} if chance.random() < 0.5 else {"status": chance.choice([-1, 1, 99])}
        )
        return dataclasses.replace(response, **other)
    index = chance.randrange(len(parts))
    part = parts[index]
    changed = {
        "dropped": [],
        "repeated": [part, part],
        "content": [dataclasses.replace(part, content=chance.choice(_CONTENTS))],
        "value": [dataclasses.replace(part, value=chance.choice(_VALUES))],
        "index": [dataclasses.replace(part, index=chance.choice([-5, 7, 10**30]))],
        "truncated": [dataclasses.replace(part, content=part.content[: len(part.content) // 2])],
        "foreign": [ResponsePart(chance.choice(["state", "x", "log", "due", "submission"]), 0, "", b"")],
    }
    parts[index : index + 1] = changed[chance.choice(list(changed))]
    return dataclasses.replace(response, parts=tuple(parts))


@pytest.fixture
def damage(monkeypatch):
    """Returns a function that damages each response from now on, differently for each number, or none of them."""
    original = ShellProtocol._parse
    chances: list[random.Random] = []

    def parse(self, body, status):
        response = original(self, body, status)
        # the first response of a shell only shows that it is ready
        damaged = chances and b"ready" not in body
        return _damage(response, chances[-1]) if damaged else response

    monkeypatch.setattr(ShellProtocol, "_parse", parse)

    def damage(number: int | None) -> None:
        chances[:] = [] if number is None else [random.Random(number)]

    yield damage
    damage(None)


def _calls(bench, folder):
    files = RemoteFileSystem(bench.host.alias)
    job = bench.submit("echo a; echo b; exit 3").job
    bench.monitor.wait(job, lambda status: None)
    return {
        "submit": lambda: bench.client.submit(JobSpec(key=bench.key, command="true")),
        "find": lambda: bench.client.find(bench.key),
        "status": lambda: str(bench.client.status(job, 0)),
        "tail": lambda: bench.client.tail(job, 5, 1000),
        "missing": lambda: bench.client.missing(job, ["/nowhere/x"]),
        "ls": lambda: [str(each) for each in bench.listing.attempts()],
        "show": lambda: str(bench.listing.details(job)),
        "cancel": lambda: bench.monitor.cancel(job, grace=0),
        "wait": lambda: bench.monitor.wait(job, lambda status: None),
        "exists": lambda: files.exists(folder),
        "exists_many": lambda: files.exists_many([folder, f"{folder}/x"]),
        "isdir": lambda: files.isdir(folder),
        "listdir": lambda: list(files.listdir(folder)),
        "stat": lambda: files._commands.stat(folder),
    }


@pytest.mark.timeout(300)
def test_each_call_gives_a_value_or_an_error_of_this_package(bench, text_folder, damage):
    configure(unreachable_timeout=1, request_timeout=10)
    calls = _calls(bench, text_folder)
    errors = []
    for name, call in calls.items():
        for number in range(3 if name in ("cancel", "wait") else 12):
            damage(number)
            try:
                call()
            except SSHJobError as error:
                errors.append(error)
    damage(None)
    invalid = [error for error in errors if isinstance(error, InvalidResponse)]
    assert {(error.code, error.host) for error in invalid} == {("invalid-response", bench.host.alias)}
    # the leader and the connection have survived
    assert bench.listing.attempts()


def test_the_doctor_reports_on_damaged_responses(bench, damage):
    for number in range(6):
        damage(number)
        assert _report_dict(run_checks(RemoteContext(bench.host.alias), bench.base))["findings"]
    processes.wait_until(lambda: not bench.running("sleep 300"), "the end of the processes that the doctor starts")


def test_jobs_that_are_watched_survive_a_damaged_notification_of_another(bench, damage):
    """The error names the host; the next wait succeeds."""
    job = bench.submit(bench.until_released()).job
    damage(2)
    with contextlib.suppress(SSHJobError):
        bench.monitor.cancel(job, grace=0)
    damage(None)
    bench.release()
    assert bench.monitor.wait(job, lambda status: None).state in ("succeeded", "cancelled")
