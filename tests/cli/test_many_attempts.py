"""Listings of 10,000 kept attempts."""

from __future__ import annotations

import json
import time

import pytest

from luigi_sshjob.cli.main import main

from support import processes

COUNT = 10_000
PAGE = 2.0  # seconds
TRIES = 3  # another program may be busy

# Makes a directory with hard links to the files of Task/1 for each name, then removes Task/1: a process for each would
# take half a minute, copies of the files minutes.
COPY = """
import os, shutil, sys
shape, count = sys.argv[1], int(sys.argv[2])
shutil.rmtree("Task/1/run")
files = os.listdir("Task/1")
for number in range(2, count + 2):
    os.makedirs(f"{shape % number}/run")
    for file in files:
        os.link(f"Task/1/{file}", f"{shape % number}/{file}")
shutil.rmtree("Task/1")
if not os.listdir("Task"):
    os.rmdir("Task")
"""

SHAPES = {"a task each": "Task%05d/1", "one task": "Task/%d"}


@pytest.fixture(params=SHAPES)
def attempts(request, bench):
    """A bench with 10,000 collected attempts, copies of a real one."""
    outcome, _ = bench.run("echo the end")
    assert outcome.succeeded
    shape, jobs = SHAPES[request.param], f"{bench.host.home}/{bench.folder}/jobs"
    bench.host.run("sh", "-c", 'cd "$0" && exec python3 -c "$@"', jobs, COPY, shape, str(COUNT))
    return bench


@pytest.fixture
def page(attempts, capsys):
    """Return a function that runs a command and returns what it printed, and fails if it takes too long."""

    def page(verb: str, *words: str) -> tuple[str, str]:
        for tries_left in reversed(range(TRIES)):
            capsys.readouterr()
            begin = time.monotonic()
            assert main([verb, attempts.host.alias, "--base-dir", attempts.base, *words]) == 0
            seconds = time.monotonic() - begin
            if seconds < PAGE:
                break
            assert tries_left, f"{verb} took {seconds:.1f} s"
        return capsys.readouterr()

    return page


@pytest.mark.alone
@pytest.mark.needs("python")
@pytest.mark.timeout(300)
def test_of_ten_thousand_attempts_each_page_takes_two_seconds_and_gc_removes_all(attempts, page, capsys):
    running = attempts.submit("sleep 561").job
    processes.wait_until(lambda: attempts.client.status(running).state.value == "running", "the job")
    listed = json.loads(page("ls", "--json").out)
    # the one that has not ended first
    assert listed[0]["job"] == running.id
    assert len(listed) == len({each["job"] for each in listed}) == 200
    following = page("ls", "--skip", "200")
    assert len(following.out.splitlines()) == 201
    assert following.err == (
        f"200 of {COUNT + 1} jobs: 200 succeeded\n"
        f"{COUNT + 1 - 400} more: see the next ones with --skip 400, or all with --limit 0; "
        "only failures with --state failed,killed,timed_out,lost\n"
    )
    assert not {each["job"] for each in listed} & {line.split()[0] for line in following.out.splitlines()}
    assert "echo the end" in page("show", listed[-1]["job"]).out
    assert "sleep 561" in page("show", running.key).out
    page("gc", "--older-than", "1d", "--dry-run")
    assert main(["gc", attempts.host.alias, "--base-dir", attempts.base, "--older-than", "0s"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == COUNT
    assert printed.err == f"{COUNT} removed\n"
    left = attempts.host.run("sh", "-c", f"cd ~/{attempts.folder}/jobs && echo */*")
    assert left == f"{running.id} {running.key}/scratch\n"
