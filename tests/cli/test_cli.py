"""The `luigi-sshjob` command."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.listing import JobListing
from luigi_sshjob.jobs.recent import JobLocation, recent_locations, remember
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.jobs.spec import JobSpec, Output

from support import processes
from support.settings import configure

BASE = "~/.luigi-sshjob"


@pytest.fixture
def submit(host, luigi_cfg):
    """Return a function that submits a job and waits until it runs or, if `ended`, has ended."""
    connection = RemoteContext(host.alias).connection
    client = JobClient(connection, BASE, get_launcher("nohup"))

    def submit(key: str, command: str, ended: bool = False, **options):
        job = client.submit(JobSpec(key=key, command=command, **options)).job
        wanted = ("ended",) if ended else ("running", "ended")
        processes.wait_until(lambda: client.status(job).state.value in wanted, "the job")
        return job

    yield submit
    for each in JobListing(connection, BASE).attempts():
        if not each.state.final:
            main(["kill", host.alias, each.job.id])
    host.run("rm", "-rf", ".luigi-sshjob")


@pytest.fixture
def run_command(capsys):
    """Return a function that runs a command, checks its exit status and returns its output."""

    def run_command(*words: str, status: int = 0):
        assert main(list(words)) == status
        printed = capsys.readouterr()
        return json.loads(printed.out) if "--json" in words else printed.out

    return run_command


def age_mark(host, *ids: str, days: int = 20) -> None:
    """Change when they were collected to some days ago."""
    host.run("touch", "-d", f"{days} days ago", *(f".luigi-sshjob/jobs/{each}/collected" for each in ids))


def test_ls_prints_one_line_per_job(host, submit, run_command):
    submit("Ended", "echo a; echo '\033[31mlast'; echo; exit 3", ended=True)
    submit("Going", 'echo "42 aligning" >$SSHJOB_PROGRESS; sleep 511')
    processes.wait_until(lambda: run_command("ls", host.alias, "--json")[1]["progress"], "the progress")
    head, ended, going = run_command("ls", host.alias).splitlines()
    assert re.split("  +", head) == ["JOB", "STATE", "AGE", "PROGRESS", "REASON OR LAST LINE"]
    assert going.split()[:2] == ["Going/1", "running"]
    assert "42 aligning" in going
    # escape sequences of the job are removed
    assert re.fullmatch(r"Ended/1  failed 3  \d+ s +last", ended)
    second, first = run_command("ls", host.alias, "--json")
    assert (first["job"], first["state"], first["outcome"], first["collected_by"]) == ("Going/1", "running", None, None)
    assert 0 <= first["since"] <= first["submitted_ago"] < 60
    assert (second["outcome"]["state"], second["outcome"]["exit_code"]) == ("failed", 3)


def test_ls_lists_recent_hosts_and_an_unreachable_one_hides_no_other(host, submit, run_command, capsys):
    assert main(["ls"]) == 3
    assert "no host was used recently from here\nNext: name one" in capsys.readouterr().err
    submit("Here", "exit 0", ended=True)
    remember(JobLocation(host.alias, BASE))
    remember(JobLocation("no-such-host.invalid", BASE))
    assert main(["ls"]) == 3
    printed = capsys.readouterr()
    assert "Here/1" in printed.out
    assert "host no-such-host.invalid, while logging in: " in printed.err
    assert [place.host for place in recent_locations()] == ["no-such-host.invalid", host.alias]


def test_a_job_is_found_in_each_recently_used_base_dir(host, submit, run_command):
    host.run("mkdir", "-p", ".luigi-sshjob/apart")
    connection = RemoteContext(host.alias).connection
    other_base = f"{BASE}/apart"
    JobClient(connection, other_base, get_launcher("nohup")).submit(JobSpec(key="Apart", command="echo found"))
    remember(JobLocation(host.alias, other_base))
    processes.wait_until(lambda: run_command("logs", host.alias, "Apart") == "found\n", "the log")


def test_ls_watch_refreshes_in_place_on_a_terminal_only(host, submit, capsys):
    submit("Going", "while ! [ -e go ]; do sleep 0.1; done; rm go")
    assert main(["ls", host.alias, "--watch"]) == 2
    assert "--watch needs a terminal" in capsys.readouterr().err
    terminal, process_side = pty.openpty()
    command = [sys.executable, "-m", "luigi_sshjob.cli", "ls", host.alias, "--watch", "--interval", "0.1s"]
    shown = b""
    with subprocess.Popen(
        command, stdin=process_side, stdout=process_side, stderr=process_side, env={**os.environ, "NO_COLOR": "1"}
    ) as run:
        os.close(process_side)

        def seen(text: bytes) -> bool:
            nonlocal shown
            shown += os.read(terminal, 65536)
            return text in shown

        processes.wait_until(lambda: seen(b"running"), "the job")
        host.run("touch", "go")
        processes.wait_until(lambda: seen(b"succeeded"), "its end")
        run.send_signal(2)
        assert run.wait(20) == 130
    os.close(terminal)
    # one screen, no colour
    assert shown.count(b"\033[?1049h") == 1
    assert b"\033[3" not in shown


def test_logs_prints_the_bytes_of_a_log_and_follows_it_to_the_end(host, submit, capfdbinary):
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


def test_logs_tail_prints_the_last_lines_of_a_long_log(host, submit, capfdbinary):
    whole = b"".join(b"%d %s\n" % (n, b"x" * (n % 700)) for n in range(3000)) + b"no end"
    line = 'line = ""; for (i = 0; i < n % 700; i++) line = line "x"; print n " " line'
    make = f"awk 'BEGIN {{ for (n = 0; n < 3000; n++) {{ {line} }} }}'"
    submit("Long", f"{make}; printf 'no end'", ended=True)
    lines = whole.splitlines(keepends=True)
    for count in (0, 1, 2, 400, 3001, 5000):
        assert main(["logs", host.alias, "Long", "-n", str(count)]) == 0
        assert capfdbinary.readouterr().out == b"".join(lines[-count:] if count else [])
    assert main(["logs", "-f", host.alias, "Long", "--tail", "2"]) == 0
    assert capfdbinary.readouterr().out == b"".join(lines[-2:])


def test_show_prints_all_details_and_the_next_steps(host, submit, run_command, luigi_cfg):
    job = submit(
        "Shown",
        "echo one; echo two >&2; exit 3",
        ended=True,
        working_directory="/tmp",
        environment={"TOKEN": "secret-7"},
        submitted_by="ann@laptop",
        submitted_at="2030-01-01T00:00:00Z",
        outputs=[Output("SSHJOB_OUTPUT", "/tmp/it's")],
        setup=Setup("export A=[b]\ncd /", login_shell=True),
    )
    text = run_command("show", host.alias, "Shown")
    for part in (
        "failed with exit code 3\n",
        "s ago\n",
        "by ann@laptop",
        "/tmp/it's",
        "export A=[b]\n",
        "one\n",
        "two\n",
        "CPU ",
        "log 8 B",
    ):
        assert part in text
    assert f"luigi-sshjob collect {host.alias} Shown/1" in text
    assert "secret-7" not in text
    found = run_command("show", host.alias, "Shown", "--json")
    assert (found["command"], found["log_bytes"]) == ("echo one; echo two >&2; exit 3", 8)
    assert (found["working_directory"], found["outputs"]) == ("/tmp", ["/tmp/it's"])
    assert (found["setup"], found["modules"], found["login_shell"]) == ("export A=[b]\ncd /", [], True)
    assert found["directory"] == job.directory
    submit("Busy", "sleep 531 & sleep 532 & wait")
    processes.wait_until(lambda: run_command("show", host.alias, "Busy", "--json")["processes"] >= 3, "its processes")
    assert f"follow its log: luigi-sshjob logs -f {host.alias} Busy/1" in run_command("show", host.alias, "Busy")


def test_kill_ends_the_valid_jobs_and_then_reports_the_others(host, submit, capsys):
    submit("One", "sleep 521")
    submit("Two", "sleep 522")
    assert main(["kill", host.alias, "One", "None", "Two/1", "One/1"]) == 3
    printed = capsys.readouterr()
    assert printed.err == (
        f"luigi-sshjob: host {host.alias}, job None: there is no such job\n"
        f"Next: list the jobs with `luigi-sshjob ls -a {host.alias}`\n"
    )
    assert re.fullmatch(r"One/1 was cancelled: by .*\nTwo/1 was cancelled: by .*\n", printed.out)
    assert not any("sleep 52" in args for _, args in host.processes())


def test_collect_and_forget_accept_ended_jobs_only(host, submit, run_command, capsys):
    submit("Ended", "exit 3", ended=True)
    submit("Going", "sleep 541")
    assert re.search(r"^Collected +no$", run_command("show", host.alias, "Ended"), re.MULTILINE)
    assert main(["collect", host.alias, "Going", "Ended"]) == 3
    printed = capsys.readouterr()
    assert printed.out == "Ended/1 was marked as collected: failed with exit code 3\n"
    assert run_command("kill", host.alias, "Ended") == "Ended/1 had already ended: failed with exit code 3\n"
    assert "job Going/1: the job has not ended: it is running\nNext: wait for it, or end it with" in printed.err
    job = submit("Ended", "exit 3", ended=True)
    assert job.attempt == 2
    words = ("forget", host.alias, "Ended/1", "Going", "Ended/2")
    assert run_command(*words, status=3) == "Ended/1 was removed\nEnded/2 was removed\n"
    with pytest.raises(RemoteCommandFailed, match="the job directory has no log any more"):
        JobClient(RemoteContext(host.alias).connection, BASE, get_launcher("nohup")).tail(job, 1, 10)
    # the outcome is kept, and the number of the attempt is not used again
    kept = "1/collected 1/forgotten 2/collected 2/forgotten\n"
    assert host.run("sh", "-c", "cd .luigi-sshjob/jobs/Ended && echo */*") == kept
    assert "Ended" not in run_command("ls", host.alias)
    assert "Ended/2  failed 3" in run_command("ls", "--all", host.alias)
    host.run("sh", "-c", "kill -9 $(cat .luigi-sshjob/jobs/Going/1/identity | sed -n 's/pid: //p')")
    processes.wait_until(lambda: "unsupervised" in run_command("ls", host.alias), "the death of its supervisor")
    for pid, args in host.processes():
        if "sleep 541" in args:
            host.run("kill", "-9", str(pid))
    processes.wait_until(lambda: "Going/1  lost" in run_command("ls", host.alias), "the loss")
    run_command("forget", host.alias, "Going")
    assert host.run("sh", "-c", "ls .luigi-sshjob/jobs") == "Ended\n"


def test_the_name_of_a_task_is_its_newest_attempt_that_was_not_forgotten(host, submit, run_command):
    for number in (1, 2):
        submit("Twice", f"echo attempt {number}", ended=True)
        run_command("collect", host.alias, "Twice")
    assert run_command("forget", host.alias, "Twice") == "Twice/2 was removed\n"
    assert run_command("logs", host.alias, "Twice") == "attempt 1\n"
    assert run_command("show", host.alias, "Twice", "--json")["job"] == "Twice/1"
    # its number counts for the task, and it can be named
    client = JobClient(RemoteContext(host.alias).connection, BASE, get_launcher("nohup"))
    assert client.find("Twice").attempt == 2
    assert run_command("show", host.alias, "Twice/2", "--json")["outcome"]["state"] == "succeeded"
    assert run_command("forget", host.alias, "Twice") == "Twice/1 was removed\n"
    assert run_command("show", host.alias, "Twice", "--json")["job"] == "Twice/2"
    assert submit("Twice", "true", ended=True).attempt == 3


def test_gc_removes_old_attempts_but_no_running_job_output_or_foreign_file(host, submit, run_command, capsys):
    running = submit("Running", "sleep 551")
    for key, options in (("Waiting", {}), ("Young", {}), ("Old", {}), ("Made", {"publish": True})):
        submit(key, "echo made", ended=True, **options)
    run_command("collect", host.alias, "Young", "Old", "Made")
    submit("Old", "exit 2", ended=True)
    # even if it looks like a collected one
    host.run("sh", "-c", "cp .luigi-sshjob/jobs/Old/1/collected .luigi-sshjob/jobs/Running/1/")
    host.run("sh", "-c", "mkdir -p .luigi-sshjob/jobs/Foreign/1 && echo mine >.luigi-sshjob/jobs/Foreign/1/file")
    with pytest.raises(
        JobError, match="the attempt was not removed: the job has not ended, or its outcome was not collected"
    ):
        JobListing(RemoteContext(host.alias).connection, BASE).discard([running])
    age_mark(host, "Old/1", "Made/1", "Running/1")
    would = run_command("gc", host.alias, "--dry-run", "--json")
    assert would == ["Made/1", "Old/1"]
    assert "Old/1" in run_command("ls", host.alias, "--all")
    assert "Old/1" not in run_command("ls", host.alias)
    capsys.readouterr()
    assert main(["gc", host.alias]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Made/1 succeeded, collected 20 d ")
    assert printed.err == (
        "2 removed\n2 kept, because they ended but were not collected: run their tasks, or `collect` or `forget` them\n"
    )
    left = host.run("sh", "-c", "cd .luigi-sshjob/jobs && echo */[!s]*").split()
    assert left == ["Foreign/1", "Made/exit_record", "Made/log", "Old/2", "Running/1", "Waiting/1", "Young/1"]
    kept = host.run("sh", "-c", "cd .luigi-sshjob/jobs && echo */scratch").split()
    assert kept == ["Old/scratch", "Running/scratch", "Waiting/scratch", "Young/scratch"]
    assert host.run("cat", ".luigi-sshjob/jobs/Made/log") == "made\n"
    # a task without a directory can be submitted again
    run_command("collect", host.alias, "Old")
    run_command("gc", host.alias, "--older-than", "0s")
    assert run_command("ls", host.alias, "--all", "--json")
    assert not host.run("sh", "-c", "cd .luigi-sshjob/jobs && ls -d Old .used.Old 2>/dev/null || :")
    assert submit("Old", "exit 0", ended=True).attempt == 1


def test_a_reader_that_closes_the_pipe_is_no_error(host, submit):
    submit("Task", "head -c 5000000 /dev/zero | tr '\\0' x; exit 0")
    command = [sys.executable, "-m", "luigi_sshjob.cli", "logs", "-f", host.alias, "Task"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(3) == b"xxx"
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_a_reader_that_has_closed_the_pipe_before_the_first_line_is_no_error(host, submit):
    submit("Task", "exit 0")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "luigi_sshjob.cli", "ls", host.alias]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_brackets_are_printed_unchanged(host, luigi_cfg, run_command):
    base = "~/.luigi-sshjob/[old] [/b]"
    client = JobClient(RemoteContext(host.alias).connection, base, get_launcher("nohup"))
    job = client.submit(JobSpec(key="Task", command="exit 0")).job
    processes.wait_until(lambda: client.status(job).state.value == "ended", "the job")
    text = run_command("show", host.alias, "Task", "--base-dir", base)
    assert f"luigi-sshjob logs --base-dir '{base}' {host.alias} Task/1" in text
    host.run("rm", "-rf", ".luigi-sshjob")


def test_an_unknown_host_is_an_error_with_a_next_step(luigi_cfg, capsys):
    assert main(["ls", "no-such-host.invalid"]) == 3
    assert "Next: check the spelling" in capsys.readouterr().err


def test_invalid_settings_are_an_error_before_anything_runs(luigi_cfg, capsys):
    configure(remote_jobs="many")
    place = ["--host", "nowhere.invalid", "--folder", "/nowhere", "--notes", "/nowhere"]
    task = ["Sleepers", *place, "--count", "1", "--seconds", "1"]
    assert main(["run", "--module", "support.sample_tasks", *task, "--local-scheduler", "--no-lock"]) == 3
    assert (
        "invalid value for setting remote_jobs in [sshjob]: 'many'\nNext: give a whole number"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["gc", "h", "--older-than", "14"],
        ["gc", "h", "--older-than", "-1d"],
        ["logs", "h", "j", "-n", "x"],
        ["kill"],
        ["logs", "h", "-f", "a", "b"],
        ["ls", "--state", "broken"],
    ],
)
def test_invalid_arguments_are_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: luigi-sshjob" in capsys.readouterr().err
