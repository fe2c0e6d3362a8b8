"""Checks, recommendations and reports of the doctor from given facts; no host is contacted."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest

from luigi_sshjob.cli.commands.doctor import print_report
from luigi_sshjob.doctor.checks.session import check_clock, check_sessions
from luigi_sshjob.doctor.checks.system import check_idle_limit, check_limits, check_logout
from luigi_sshjob.doctor.facts import (
    Account,
    BaseDirectory,
    DirectoryFacts,
    Facts,
    Latency,
    SessionCount,
    SessionOpening,
    Slurm,
    Survival,
    parse_account,
)
from luigi_sshjob.doctor.recommendations import recommend_settings
from luigi_sshjob.doctor.report import CheckResult, Report, Status
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart
from luigi_sshjob.ssh.transports.login_info import LoginInfo, parse_login_log
from luigi_sshjob.ssh.transports.login_log import strip_debug

HOME = DirectoryFacts("/home/job", writable=True, free=1 << 40, size=1 << 41, executable=True)
ACCOUNT = Account(
    shell="/bin/bash",
    user="job",
    home="/home/job",
    system="Linux",
    sh="/bin/dash",
    base=BaseDirectory("/home/job/.luigi-sshjob", HOME),
    measures_memory=True,
    missing=(),
    scope="session-1.scope",
    kill_user_processes=None,
    idle_limit=None,
    excluded=False,
    lingering=False,
)
HEALTHY = Facts(
    login=LoginInfo(0.3),
    opening=SessionOpening(0.1),
    latency=Latency(0.001, 0.002),
    account=ACCOUNT,
    sessions=SessionCount(10, refused=True),
    survival=Survival(True, 1.5),
    slurm=None,
)


@pytest.mark.parametrize(
    ("ahead", "error", "status", "text"),
    [
        (0.4, 0.5, Status.OK, "agrees"),
        (2.9, 1.0, Status.OK, "agrees"),
        (61.0, 0.5, Status.NOTE, "61 s ahead of"),
        (-7200.0, 0.5, Status.NOTE, "7200 s behind"),
        (None, 0.0, Status.UNKNOWN, "unknown"),
    ],
)
def test_only_a_measurable_clock_difference_is_reported(ahead, error, status, text):
    result = check_clock(Latency(0.001, 0.002, ahead, error))
    assert result.status is status
    assert text in result.text
    assert bool(result.remedy) is (status is Status.NOTE)


@pytest.mark.parametrize(
    ("survived", "kills", "excluded", "status", "text"),
    [
        (True, True, True, Status.OK, "1.50 s after"),
        (False, True, False, Status.FAIL, "KillUserProcesses of systemd's logind is on"),
        (False, None, False, Status.FAIL, "jobs would be killed"),
        (None, True, False, Status.UNKNOWN, "probably do not"),
        (None, False, False, Status.UNKNOWN, "probably do,"),
        (None, None, False, Status.UNKNOWN, "the login failed"),
    ],
)
def test_survival_of_processes_is_reported_as_far_as_it_is_known(survived, kills, excluded, status, text):
    account = dataclasses.replace(ACCOUNT, kill_user_processes=kills, excluded=excluded)
    result = check_logout(Survival(survived, 1.5, "the login failed"), account)
    assert result.status is status
    assert text in result.text
    assert bool(result.remedy) is (status is not Status.OK)


@pytest.mark.parametrize(
    ("value", "kills", "text"),
    [
        ("t 1800000000", True, "idle for 30 min (StopIdleSessionSec), and with them jobs (KillUserProcesses)"),
        ("t 1800000000", False, "idle for 30 min (StopIdleSessionSec)"),
        ("t 18446744073709551615", True, None),
        ("", True, None),
    ],
)
def test_a_limit_for_idle_logins_is_noted(value, kills, text):
    facts = [ResponsePart(kind, 0, word, b"") for kind, word in (("idle", value), ("kills", f"b {kills}".lower()))]
    base = [ResponsePart(kind, 0, word, b"") for kind, word in (("base", "/b"), ("place", "/"))]
    found = list(check_idle_limit(parse_account([*base, *facts])))
    assert [result.status for result in found] == ([Status.NOTE] if text else [])
    assert not text or found[0].text.endswith(text)


def recommended(facts: Facts, **settings: object) -> dict[str, str]:
    defaults = {"max_sessions": 8, "connect_timeout": 15, "request_timeout": 60, "launcher": "nohup"}
    return {each.name: each.value for each in recommend_settings(facts, **{**defaults, **settings})}


def test_settings_are_recommended_only_if_the_current_ones_do_not_suit_the_host():
    assert recommended(HEALTHY) == {}
    for allowed, suitable in ((1, "1"), (2, "1"), (3, "2"), (5, "4"), (8, "7")):
        assert recommended(dataclasses.replace(HEALTHY, sessions=SessionCount(allowed, refused=True))) == {
            "max_sessions": suitable
        }
    assert recommended(HEALTHY, max_sessions=10) == {"max_sessions": "8"}
    assert recommended(dataclasses.replace(HEALTHY, sessions=SessionCount(1, refused=True)), max_sessions=1) == {}
    assert recommended(dataclasses.replace(HEALTHY, sessions=SessionCount(3, refused=False, problem="it broke"))) == {}
    assert recommended(dataclasses.replace(HEALTHY, login=LoginInfo(8.1))) == {"connect_timeout": "25"}
    assert recommended(dataclasses.replace(HEALTHY, login=LoginInfo())) == {}
    assert recommended(dataclasses.replace(HEALTHY, opening=SessionOpening(9.0))) == {"request_timeout": "90"}
    assert recommended(dataclasses.replace(HEALTHY, slurm=Slurm("slurm 22", True))) == {"launcher": "slurm"}
    assert recommended(dataclasses.replace(HEALTHY, slurm=Slurm("slurm 22", False, "down"))) == {}
    assert recommended(dataclasses.replace(HEALTHY, slurm=Slurm("slurm 22", True)), launcher="slurm") == {}
    assert recommended(HEALTHY, launcher="slurm") == {"launcher": "nohup"}


def test_a_recommended_base_dir_is_visible_to_the_nodes_of_a_cluster():
    full = dataclasses.replace(HOME, writable=False, problem="Disk quota exceeded")
    broken = dataclasses.replace(
        HEALTHY, account=dataclasses.replace(ACCOUNT, base=BaseDirectory("/home/job/.luigi-sshjob", full))
    )
    scratch, local = (dataclasses.replace(HOME, path=path) for path in ("/scratch/job", "/var/tmp"))
    assert recommended(dataclasses.replace(broken, alternatives=(scratch, local))) == {
        "base_dir": "/scratch/job/luigi-sshjob"
    }
    broken = dataclasses.replace(broken, alternatives=(full, local))
    assert recommended(broken) == {"base_dir": "/var/tmp/luigi-sshjob-job"}
    assert recommended(dataclasses.replace(broken, slurm=Slurm("slurm 22", True)), launcher="slurm") == {}


@pytest.mark.parametrize(
    "sessions", [SessionCount(8, refused=False), SessionCount(4, refused=False, problem="it broke")]
)
def test_an_interrupted_count_of_sessions_is_unknown(sessions):
    assert check_sessions(sessions, 8, existing_master=False).status is Status.UNKNOWN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_report_has_colours_only_on_a_terminal_and_never_control_characters(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    hostile = "a \x1b[2J[red]b[/red]\nc" + " word" * 60
    report = Report(
        "gpu01", (CheckResult("rc files", Status.NOTE, hostile, "do this"), CheckResult("name", Status.OK, "x"))
    )
    plain, coloured, uncoloured = io.StringIO(), Terminal(), Terminal()
    print_report(report, plain)
    words = " word" * 60
    assert plain.getvalue().splitlines()[2:5] == [
        f"note  rc files  a [red]b[/red] c{words}",
        "                Next: do this",
        "ok    name      x",
    ]
    print_report(report, coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    print_report(report, uncoloured)
    assert "\x1b[33mnote" in coloured.getvalue()
    assert "\x1b[2J" not in coloured.getvalue()
    assert not re.search(r"\x1b\[\d*3\dm", uncoloured.getvalue())
    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", coloured.getvalue()).splitlines())) <= 80


LOGIN_LOG = """debug1: Connecting to gpu01 [10.0.0.5] port 22.
debug1: Remote protocol version 2.0, remote software version OpenSSH_9.9
debug1: Server host key: ssh-rsa SHA256:abc
debug1: SSH2_MSG_SERVICE_ACCEPT received
Permission denied to all but the crew
debug1: Authentications that can continue: publickey
"""


def test_a_verbose_login_reports_the_same_error_as_any_other():
    """The host's banner is no part of it."""
    refused = "job@gpu01: Permission denied (publickey).\n"
    assert strip_debug(LOGIN_LOG + refused) == refused
    arrived = parse_login_log(
        f"{LOGIN_LOG}Warning: Permanently added 'gpu01'\nAuthenticated to gpu01 using \"publickey\".\n", 1.0
    )
    assert arrived == LoginInfo(1.0, "publickey", "ssh-rsa SHA256:abc", "unchecked", "OpenSSH_9.9")


@pytest.mark.parametrize(
    ("limiter", "lingering", "text", "remedy"),
    [
        ("systemd scope", True, "memory_limit and cpu_limit of jobs are kept by a systemd scope", ""),
        ("cgroup", True, "memory_limit of jobs is kept by a cgroup, which the host allows to limit nothing else", ""),
        ("ulimit -v", False, "memory_limit is kept by ulimit -v, for each process of a job", "loginctl enable-linger"),
        ("ulimit -v", True, "memory_limit is kept by ulimit -v, for each process of a job", ""),
        ("", True, "neither memory_limit nor cpu_limit of jobs is kept", ""),
    ],
)
def test_what_keeps_the_limits_of_jobs_is_said(limiter, lingering, text, remedy):
    controllers = ("cpu", "io", "memory") if limiter == "systemd scope" else ("memory", "pids")
    result = check_limits(dataclasses.replace(ACCOUNT, limiter=limiter, lingering=lingering, controllers=controllers))
    assert result.status is (Status.NOTE if remedy else Status.OK)
    assert result.text.startswith(text)
    assert result.remedy.startswith(remedy)
    assert bool(result.remedy) is bool(remedy)
