"""What a person sees on a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.jobs.recent import JobLocation, remember
from luigi_sshjob.jobs.spec import JobSpec

from support import processes
from support.screen import Screen

SHORT = "Align_0a1b2c3d4e"
USUAL = "CountWords_moby_dick_2026_11_30_0a1b2c3d4e"
LONG = "CountWords_moby_dick_2026_11_30_english_with_stop_words_0a1b2c3d4e"
COMMANDS = {
    f"{USUAL}_failed": "echo 'Error: the text has no words at all, so nothing can be counted in it'; exit 3",
    f"{SHORT}_killed": "kill -9 $$",
    f"{SHORT}_lost": "sleep 571",
    f"{SHORT}_late": "sleep 572",
    f"{SHORT}_done": "echo fine",
    f"{SHORT}_running": "echo '42 aligning' >$SSHJOB_PROGRESS; echo working; sleep 573",
}
STATES = {
    "failed 3": f"{USUAL}_failed/1",
    "killed KILL": f"{SHORT}_killed/1",
    "timed out": f"{SHORT}_late/1",
    "lost": f"{SHORT}_lost/1",
    "running": f"{SHORT}_running/1",
    "succeeded": f"{SHORT}_done/1",
}
FAILURES = {"failed 3", "killed KILL", "timed out", "lost"}


@pytest.fixture
def jobs(bench) -> Iterator[list[str]]:
    """A job in each of these states; returns the words that select them on a command line."""
    for key, command in COMMANDS.items():
        bench.client.submit(JobSpec(key=key, command=command, time_limit=1 if key.endswith("late") else 0))
    bench.wait_until_running("sleep 571")
    bench.host.run("sh", "-c", "kill -9 $(cat $0/jobs/*_lost/1/identity | sed -n 's/pid: //p')", bench.folder)
    for pid, args in bench.host.processes():
        if "sleep 571" in args:
            bench.host.run("kill", "-9", str(pid))

    def settled() -> bool:
        found = {each.job.key: each for each in bench.listing.attempts()}
        ended = all(found[key].state.final for key in COMMANDS if not key.endswith("running"))
        return ended and bool(found[f"{SHORT}_running"].status.progress)

    processes.wait_until(settled, "the states of the jobs")
    return [bench.host.alias, "--base-dir", bench.base]


def test_a_listing_of_80_columns_shows_every_job_and_state_and_failures_first(jobs):
    with Screen.of("ls", *jobs) as screen:
        *table, summary = screen.final()
    rows = [re.split("  +", line)[:2] for line in table[1:]]
    assert {state: job for job, state in rows} == STATES
    assert {state for _, state in rows[:4]} == FAILURES
    assert rows[4:] == [[STATES["running"], "running"], [STATES["succeeded"], "succeeded"]]
    assert summary == "6 jobs: 1 failed, 1 killed, 1 timed out, 1 lost, 1 running, 1 succeeded"
    # the last line has made room, and then a part of the progress
    assert table[0].split() == ["JOB", "STATE", "AGE", "PROGRESS"]
    assert re.search(r"  42 al\w*…$", table[5])


def test_a_job_whose_name_leaves_no_space_has_a_line_of_its_own(bench, jobs):
    bench.client.submit(JobSpec(key=LONG, command="echo out of memory; exit 4"))
    processes.wait_until(lambda: bench.client.status(bench.client.find(LONG)).outcome, "the end")
    with Screen.of("ls", *jobs, "--state", "failed", "--sort", "age") as screen:
        *table, summary = screen.final()
    assert table[0] == "JOB"
    assert table[1].split() == ["STATE", "AGE", "REASON", "OR", "LAST", "LINE"]
    assert table[2] == f"{LONG}/1"
    assert re.fullmatch(r"  failed 4  \d+ s +out of memory", table[3])
    assert table[4] == f"{USUAL}_failed/1"
    assert re.fullmatch(r"  failed 3  \d+ s +Error: the text has no words.*…", table[5])
    assert summary == "2 of 7 jobs: 2 failed"
    # the limit is one of the chosen jobs, not of all
    with Screen.of("ls", *jobs, "--state", "killed", "--limit", "1") as screen:
        assert f"{SHORT}_killed/1" in screen.final()[1]


def test_watch_shows_what_fits_and_says_how_many_more_there_are(jobs):
    with Screen.of("ls", *jobs, "--watch", rows=7) as screen:
        summary, head, *rows, footer = filter(None, screen.wait_for("Ctrl-C ends"))
    assert summary == "6 jobs: 1 failed, 1 killed, 1 timed out, 1 lost, 1 running, 1 succeeded"
    assert head.startswith("JOB ")
    assert len(rows) == 3
    assert {re.split("  +", row)[1] for row in rows} < FAILURES
    assert footer.startswith("+3 more; ")


def test_a_job_out_of_time_has_one_spelling_for_people(bench, capsys):
    job = bench.client.submit(JobSpec(key="Late", command="sleep 574", time_limit=1)).job
    processes.wait_until(lambda: bench.client.status(job).outcome, "the end")
    place = ["--base-dir", bench.base, bench.host.alias]
    for command, shown in (
        (["show", *place, "Late"], r"^State +timed out: "),
        (["ls", *place, "--state", "timed out"], r"^Late/1 +timed out "),
        (["collect", *place, "Late"], r"^Late/1 was marked as collected: was ended by a limit: it ran longer than 1 s"),
        (["gc", *place, "--older-than", "0s", "--dry-run"], r"^Late/1 timed out, collected "),
    ):
        assert main(command) == 0
        assert re.search(shown, capsys.readouterr().out, re.MULTILINE), command


def test_a_host_that_does_not_exist_is_one_error_in_each_command(bench, luigi_cfg, capsys):
    # an error for each base directory would be three
    for base in ("~/a", "~/b"):
        remember(JobLocation("no-such-host.invalid", base))
    host = "no-such-host.invalid"
    for command in (["ls"], ["ls", host], ["gc", host], *([verb, host, "J/1"] for verb in ("logs", "kill", "show"))):
        assert main(command) == 3
        err = capsys.readouterr().err
        assert err.count("cannot resolve the host name") == err.count("Next: ") == 1, err
