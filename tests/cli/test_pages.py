"""Which attempts are on a page of a listing."""

from __future__ import annotations

import json

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.jobs.spec import JobSpec

from support import processes

STATES = {"Again": "running", "Done": "succeeded", "Failed": "failed", "One": "running", "Three": "running"}


@pytest.fixture
def jobs(bench, capsys) -> list[str]:
    """Three running jobs and two that have ended; returns the words that select them on a command line."""
    words = [bench.host.alias, "--base-dir", bench.base]

    def submit(key: str, command: str, wanted: str) -> None:
        job = bench.client.submit(JobSpec(key=key, command=command)).job
        processes.wait_until(lambda: bench.client.status(job).state.value == wanted, "the job")

    submit("Failed", "exit 3", "ended")
    submit("Done", "exit 0", "ended")
    submit("Again", "exit 4", "ended")
    assert main(["collect", *words, "Again"]) == 0
    for key in ("Again", "One", "Three"):
        submit(key, "sleep 595", "running")
    capsys.readouterr()
    return words


@pytest.fixture
def listed(jobs, capsys):
    """Return a function that lists the jobs, and returns their ids and states."""

    def listed(*options: str) -> dict[str, str]:
        assert main(["ls", "--json", *jobs, *options]) == 0
        found = json.loads(capsys.readouterr().out)
        return {each["job"]: (each["outcome"] or each)["state"] for each in found}

    return listed


def test_a_page_has_room_for_active_jobs_and_for_those_that_have_ended(listed):
    first = listed("--limit", "4")
    assert list(first.values()) == ["failed", "running", "running", "succeeded"]
    # each attempt is on one page, and one that another follows on the last
    pages = [listed("--limit", "2", "--skip", str(number)) for number in (0, 2, 4, 6)]
    assert sorted(job for page in pages for job in page) == sorted(listed("--limit", "0"))
    assert [len(page) for page in pages] == [2, 2, 2, 0]
    assert listed("--limit", "1", "--skip", "5") == {"Again/1": "failed"}


def test_what_is_left_out_is_counted_and_failures_can_be_listed_alone(jobs, listed, capsys):
    assert main(["ls", *jobs, "--limit", "1"]) == 0
    head, more = capsys.readouterr().err.splitlines()
    assert head == "1 of 6 jobs: 1 succeeded"
    assert more == (
        "5 more: see the next ones with --skip 1, or all with --limit 0; "
        "only failures with --state failed,killed,timed_out,lost"
    )
    options = more.rpartition("only failures with ")[2].split()
    assert listed(*options) == {"Failed/1": "failed", "Again/1": "failed"}
    assert main(["ls", *jobs, "--limit", "1", *options]) == 0
    assert "only failures" not in capsys.readouterr().err
