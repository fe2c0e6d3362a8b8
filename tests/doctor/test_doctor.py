"""`luigi-sshjob doctor`: what is wrong with a host is found, said with its remedy, and nothing of the search stays."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli.main import main
from luigi_sshjob.doctor.checks import session, system
from luigi_sshjob.doctor.checks.storage import judge_base, judge_room
from luigi_sshjob.doctor.facts import (
    Account,
    Base,
    DirectoryFacts,
    Facts,
    Latency,
    Opening,
    Sessions,
    Slurm,
    Survival,
    account,
)
from luigi_sshjob.doctor.probes.detach import open_shell
from luigi_sshjob.doctor.recommendations import advise
from luigi_sshjob.doctor.report import CheckResult, Report, Status, show
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.remote_shell import deadline_in
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route, parse_login_log, strip_debug

from support import processes
from support.settings import both_transports, configure, through_itself

PROBES = "find /home /mnt /root /tmp /var/tmp -name '.sshjob-tmp.*' -o -name '.probe.*'"

# The machine of the tests may be so busy that a login takes long: that is no matter of the host's.
PATIENT = {"connect_timeout": 100, "request_timeout": 1000}


def add_config(luigi_cfg, text: str) -> None:
    """Puts `text` before the host's own client configuration."""
    path = luigi_cfg.path.with_name("ssh_config")
    usual = Path(luigi.configuration.get_config().get("sshjob", "ssh_config")).read_text()
    path.write_text(f"{text}\nHost *\n{usual}")
    configure(ssh_config=path)


def examined(capsys, *arguments: str) -> tuple[int, dict]:
    """Exit status, and the findings by check, as a script would read them."""
    status = main(["doctor", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["exit_status"] == status
    checks = {finding["check"]: finding for finding in found["findings"] if finding["check"] != "tools"}
    return status, {**found, **checks, "tools": [one for one in found["findings"] if one["check"] == "tools"]}


def listing(host) -> str:
    return host.run("sh", "-c", "ls -lRA ~")


@both_transports
def test_a_healthy_host_needs_no_other_settings_and_is_left_as_it_was(host, luigi_cfg, capsys):
    configure(**PATIENT)
    before, logins = listing(host), host.accepted_logins()
    others = []
    if RemoteContext(host.alias).connection.transport.shared:
        others = [RemoteContext(host.alias).Popen(["cat"], stdin=subprocess.PIPE) for _ in range(2)]
        processes.wait_until(lambda: len([args for _, args in host.processes() if args == "cat"]) == 2, "the others")
        logins += 1
    status, found = examined(capsys, host.alias)
    assert (status, found["settings"]) == (0, {})
    assert "fail" not in {finding["verdict"] for finding in found["findings"]}
    # one to be there, where nobody was, and one to see what outlives a connection
    assert host.accepted_logins() == logins + (1 if others else 2)
    measured = found["sessions"]["measured"]
    assert (measured["limit"], measured["others"]) == (10, len(others))
    assert found["host key"]["verdict"] == ("unknown" if others else "ok")
    assert found["logout"]["measured"]["survived"] is True
    assert abs(found["clock"]["measured"]["ahead"]) <= found["clock"]["measured"]["error"]
    for other in others:
        assert other.poll() is None
        other.communicate(b"")
    RemoteContext(host.alias).close()
    processes.wait_until(lambda: host.processes() == [], "the end of all that was started")
    assert listing(host) == before


@pytest.mark.needs_docker
def test_what_is_wrong_with_a_host_is_found_also_behind_a_jump_host(special_bench, luigi_cfg, capsys, tmp_path):
    configure(**PATIENT)
    host = special_bench(tmpfs={"/mnt/small": "size=20m,noexec,uid=1000,mode=755"}).host
    host.configure_sshd("MaxSessions 3")
    add_config(luigi_cfg, through_itself(host, tmp_path))
    host.run("sh", "-c", "printf 'echo Welcome\\necho motd >&2\\nsleep 0.55\\n' >.bashrc")
    host.run("mv", "/usr/bin/tar", "/usr/bin/time", "/usr/bin/setsid", "/root", user="root")
    status, found = examined(capsys, "through", "--base-dir", "/mnt/small")
    assert status == 0
    assert found["settings"] == {
        "max_sessions": {"value": "2", "why": "the server allows 3 at once"},
        "base_dir": {"value": "/home/job/.luigi-sshjob", "why": "/mnt/small is full"},
    }
    assert host.alias in found["name"]["text"]
    assert found["sessions"]["measured"]["limit"] == 3
    assert found["rc files"]["measured"]["seconds"] > 0.55
    assert {"Welcome", "motd"} == set(found["rc files"]["measured"]["printed"].split())
    assert "~/.bashrc" in found["rc files"]["remedy"]
    assert found["noexec"]["measured"]["programs_run"] is False
    assert found["base_dir"]["measured"]["mode"] == "drwxr-xr-x"
    assert "chmod 700 /mnt/small" in found["base_dir"]["remedy"]
    assert {finding["measured"]["missing"] for finding in found["tools"]} == {"tar", "time"}
    assert found["logout"]["measured"]["survived"] is True
    noted = {finding["check"] for finding in found["findings"] if finding["verdict"] == "note"}
    assert noted - {"login", "round trip"} == {"rc files", "sessions", "base_dir", "space", "noexec", "tools", "setsid"}

    host.run("sh", "-c", "echo >.bashrc; cat /dev/zero >/mnt/small/zeros", check=False)
    with contextlib.closing(open_shell(RemoteContext("through").connection.transport)) as opened:
        base = account(opened.call("doctor_facts /mnt/small", deadline=deadline_in(100)).parts).base
    assert judge_base(base, "/mnt/small").text.endswith("No space left on device")
    assert {judge_base(base, "/mnt/small").verdict, judge_room(base).verdict} == {Status.FAIL}
    assert host.run("sh", "-c", PROBES, user="root") == ""
    assert host.run("ls", "-A", "/mnt/small") == "zeros\n"


@both_transports
@pytest.mark.parametrize("step", ["name", "connection", "host key", "authentication"])
def test_a_login_that_fails_is_told_by_its_step(host, luigi_cfg, capsys, tmp_path, step):
    configure(connect_attempts=1)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    name = host.alias
    text = host.ssh_config.read_text()
    if step == "name":
        name = "no-such-host.invalid"
    elif step == "connection":
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            text = text.replace(f"Port {host.port}", f"Port {reserved.getsockname()[1]}")
    elif step == "host key":
        known = tmp_path / "known"
        known.write_text(host.known_hosts.read_text().split()[0] + " " + (tmp_path / "other.pub").read_text())
        text = text.replace(str(host.known_hosts), str(known))
    else:
        text = text.replace(str(host.key_file), str(tmp_path / "other"))
    path = tmp_path / "config"
    path.write_text(text)
    configure(ssh_config=path)
    logins = host.accepted_logins()
    assert main(["doctor", name]) == 3
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    marks = {line[6:].split("  ")[0]: line[:4].strip() for line in lines[2:] if line[:1].strip()}
    steps = ["name", "connection", "key exchange", "host key", "authentication"]
    done = steps[: steps.index(step)]
    assert [marks.pop(one) for one in done] == ["ok"] * len(done)
    assert marks.pop(step) == "FAIL"
    assert marks.pop("all else") == "?"
    remedies = {
        "name": "check the spelling",
        "connection": "nothing listens on that port",
        "host key": f"ssh-keygen -R '[127.0.0.1]:{host.port}'",
        "authentication": "authorized_keys",
    }
    failed = next(index for index, line in enumerate(lines) if line.startswith("FAIL"))
    assert re.match(r" {10,}Next: ", lines[failed + 1])
    assert remedies[step] in lines[failed + 1]
    assert host.accepted_logins() == logins


def test_the_users_own_connection_is_examined_and_nothing_logs_in(host, luigi_cfg, capsys):
    configure(existing_master="require")
    add_config(luigi_cfg, f"Host {host.alias}\n  ControlPath {luigi_cfg.runtime_dir / 'mine'}")
    status, found = examined(capsys, host.alias)
    assert (status, found["login"]["verdict"]) == (3, "fail")
    assert "log in with `ssh " in found["login"]["remedy"]
    mine = luigi.configuration.get_config().get("sshjob", "ssh_config")
    subprocess.run(["ssh", "-F", mine, "-M", "-N", "-f", host.alias], check=True, stdin=subprocess.DEVNULL)
    logins = host.accepted_logins()
    status, found = examined(capsys, host.alias)
    assert (status, found["settings"]) == (0, {})
    assert found["sessions"]["measured"]["limit"] == 10
    assert {one["check"] for one in found["findings"] if one["verdict"] == "unknown"} == {"host key", "logout"}
    assert host.accepted_logins() == logins


@pytest.mark.parametrize("moment", ["its own login", "its process"])
def test_nothing_stays_where_the_doctor_is_killed(host, luigi_cfg, moment):
    """The shared connection is everybody's; the login that is the doctor's own ends with it."""

    def own_login() -> bool:
        return any("ControlPersist=3 " in one.args and host.alias in one.args for one in processes.running())

    def process() -> bool:
        return any(args == "sleep 300" for _, args in host.processes())

    before = listing(host)
    doctor = subprocess.Popen([sys.executable, "-m", "luigi_sshjob.cli", "doctor", host.alias], stdout=subprocess.PIPE)
    with doctor:
        processes.wait_until(own_login if moment == "its own login" else process, moment)
        processes.kill([doctor.pid])
    processes.wait_until(lambda: not own_login() and host.processes() == [], "the end of all it had")
    assert listing(host) == before


SCRIPT = """
sbatch() { echo slurm-wlm 22.05.8; }
squeue() { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; return 1; }
"""


def test_every_shell_tells_the_same(far_side):
    """And leaves as little."""
    far_side.host.run("touch", f"{far_side.base}/file")
    ours = f"{scripts.script('server/doctor.sh')}{SCRIPT}"
    answer = far_side.call(
        (quoting.Word("eval"), ours),
        *((quoting.Word("doctor_directory"), base) for base in (f"{far_side.base}/file/x", "/proc/x")),
        (quoting.Word("doctor_facts"), f"{far_side.base}/none/below"),
        (quoting.Word("doctor_clock"),),
        (quoting.Word("doctor_slurm"),),
        (quoting.Word("doctor_elsewhere"),),
        (quoting.Word("doctor_detach"),),
        (quoting.Word("eval"), 'process_start "$detached"; doctor_adopt "$detached" "$start"'),
        (quoting.Word("doctor_watch"), "0", "0", "2"),
    )
    said = re.findall(r"^token part (\S+) 0 (.*)$", answer, re.MULTILINE)
    begin = [kind for kind, _ in said].index("shell")
    refused, said = said[:begin], said[begin:]
    assert ("unwritable", f"{far_side.base}/file is no directory") in refused
    assert [place for kind, place in refused if kind == "place"] == [f"{far_side.base}/file", "/proc"]
    assert len([why for kind, why in refused if kind == "unwritable" and why]) == 2
    assert "timer" not in dict(refused)
    facts = dict(reversed(said))
    assert facts["place"] == far_side.base
    assert (facts["writable"], facts["runs"], facts["survived"]) == ("yes", "yes", "yes")
    assert int(facts["free"]) > 0
    assert int(facts["files"]) > 0
    assert facts["clock"].isdigit()
    assert facts["silent"] == "slurm_load_jobs error: Unable to contact slurm controller"
    assert ("place", far_side.host.home) in said
    # Debian's busybox has none
    assert {name for kind, name in said if kind == "missing"} <= {"nohup"}
    assert bool(facts["timer"]) is far_side.has_timer()
    assert not any("sleep 300" in args for _, args in far_side.host.processes())
    assert far_side.host.run("sh", "-c", f"find {far_side.base} ~ /var/tmp -name '.sshjob-tmp.*'") == ""


PLACE = DirectoryFacts("/home/job", writable=True, free=1 << 40, size=1 << 41, runs=True)
ACCOUNT = Account(
    shell="/bin/bash",
    user="job",
    home="/home/job",
    system="Linux",
    sh="/bin/dash",
    base=Base("/home/job/.luigi-sshjob", PLACE),
    timer=True,
    missing=(),
    scope="session-1.scope",
    kills=None,
    spared=False,
    lingers=False,
)
SEEN = Facts(
    route=Route("gpu01", 22, "job", "gpu01"),
    arrival=LoginInfo(0.3),
    opening=Opening(0.1),
    pace=Latency(0.001, 0.002),
    account=ACCOUNT,
    sessions=Sessions(10, refused=True),
    survival=Survival(True, 1.5),
    slurm=None,
)


@pytest.mark.parametrize(
    ("ahead", "error", "verdict", "text"),
    [
        (0.4, 0.5, Status.OK, "agrees"),
        (2.9, 1.0, Status.OK, "agrees"),
        (61.0, 0.5, Status.NOTE, "61 s ahead of"),
        (-7200.0, 0.5, Status.NOTE, "7200 s behind"),
        (None, 0.0, Status.UNKNOWN, "not known"),
    ],
)
def test_clocks_differ_by_more_than_can_be_measured(ahead, error, verdict, text):
    found = session.judge_clock(Latency(0.001, 0.002, ahead, error))
    assert found.verdict is verdict
    assert text in found.text
    assert bool(found.remedy) is (verdict is Status.NOTE)


@pytest.mark.parametrize(
    ("survived", "kills", "spared", "verdict", "text"),
    [
        (True, True, True, Status.OK, "1.50 s after"),
        (False, True, False, Status.FAIL, "KillUserProcesses of systemd's logind is on"),
        (False, None, False, Status.FAIL, "no job would"),
        (None, True, False, Status.UNKNOWN, "speaks against it"),
        (None, False, False, Status.UNKNOWN, "speaks for it"),
        (None, None, False, Status.UNKNOWN, "no login of ours"),
    ],
)
def test_what_becomes_of_processes_is_said_as_far_as_it_was_seen(survived, kills, spared, verdict, text):
    told = dataclasses.replace(ACCOUNT, kills=kills, spared=spared)
    found = system.judge_logout(Survival(survived, 1.5, "no login of ours"), told)
    assert found.verdict is verdict
    assert text in found.text
    assert bool(found.remedy) is (verdict is not Status.OK)


def settings(seen: Facts, **ours: object) -> dict[str, str]:
    usual = {"max_sessions": 8, "connect_timeout": 15, "request_timeout": 60, "launcher": "nohup"}
    return {advice.name: advice.value for advice in advise(seen, **{**usual, **ours})}


def test_settings_are_recommended_where_those_in_force_do_not_fit():
    assert settings(SEEN) == {}
    for allowed, fitting in ((1, "1"), (2, "1"), (3, "2"), (5, "4"), (8, "7")):
        assert settings(dataclasses.replace(SEEN, sessions=Sessions(allowed, refused=True))) == {
            "max_sessions": fitting
        }
    assert settings(SEEN, max_sessions=10) == {"max_sessions": "8"}
    assert settings(dataclasses.replace(SEEN, sessions=Sessions(1, refused=True)), max_sessions=1) == {}
    assert settings(dataclasses.replace(SEEN, sessions=Sessions(3, refused=False, problem="it broke"))) == {}
    assert settings(dataclasses.replace(SEEN, arrival=LoginInfo(8.1))) == {"connect_timeout": "25"}
    assert settings(dataclasses.replace(SEEN, arrival=LoginInfo())) == {}
    assert settings(dataclasses.replace(SEEN, opening=Opening(9.0))) == {"request_timeout": "90"}
    assert settings(dataclasses.replace(SEEN, slurm=Slurm("slurm 22", True))) == {"launcher": "slurm"}
    assert settings(dataclasses.replace(SEEN, slurm=Slurm("slurm 22", False, "down"))) == {}
    assert settings(dataclasses.replace(SEEN, slurm=Slurm("slurm 22", True)), launcher="slurm") == {}
    assert settings(SEEN, launcher="slurm") == {"launcher": "nohup"}


def test_another_place_is_one_that_the_nodes_of_a_cluster_see():
    full = dataclasses.replace(PLACE, writable=False, problem="Disk quota exceeded")
    sick = dataclasses.replace(SEEN, account=dataclasses.replace(ACCOUNT, base=Base("/home/job/.luigi-sshjob", full)))
    scratch, local = (dataclasses.replace(PLACE, path=path) for path in ("/scratch/job", "/var/tmp"))
    assert settings(dataclasses.replace(sick, elsewhere=(scratch, local))) == {"base_dir": "/scratch/job/luigi-sshjob"}
    sick = dataclasses.replace(sick, elsewhere=(full, local))
    assert settings(sick) == {"base_dir": "/var/tmp/luigi-sshjob-job"}
    assert settings(dataclasses.replace(sick, slurm=Slurm("slurm 22", True)), launcher="slurm") == {}


@pytest.mark.parametrize("sessions", [Sessions(8, refused=False), Sessions(4, refused=False, problem="it broke")])
def test_what_could_not_be_counted_is_not_guessed(sessions):
    assert session.judge_sessions(sessions, 8, of_the_user=False).verdict is Status.UNKNOWN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_report_is_plain_text_and_coloured_only_where_a_person_wants_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    hostile = "a \x1b[2J[red]b[/red]\nc" + " word" * 60
    report = Report(
        "gpu01", (CheckResult("rc files", Status.NOTE, hostile, "do this"), CheckResult("name", Status.OK, "x"))
    )
    plain, coloured, uncoloured = io.StringIO(), Terminal(), Terminal()
    show(report, plain)
    words = " word" * 60
    assert plain.getvalue().splitlines()[2:5] == [
        f"note  rc files  a [red]b[/red] c{words}",
        "                Next: do this",
        "ok    name      x",
    ]
    show(report, coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    show(report, uncoloured)
    assert "\x1b[33mnote" in coloured.getvalue()
    assert "\x1b[2J" not in coloured.getvalue()
    assert not re.search(r"\x1b\[\d*3\dm", uncoloured.getvalue())
    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", coloured.getvalue()).splitlines())) <= 80


SAID = """debug1: Connecting to gpu01 [10.0.0.5] port 22.
debug1: Remote protocol version 2.0, remote software version OpenSSH_9.9
debug1: Server host key: ssh-rsa SHA256:abc
debug1: SSH2_MSG_SERVICE_ACCEPT received
Permission denied to all but the crew
debug1: Authentications that can continue: publickey
"""


def test_a_login_that_is_listened_to_says_what_any_other_says():
    """A banner is the host's own words."""
    refused = "job@gpu01: Permission denied (publickey).\n"
    assert strip_debug(SAID + refused) == refused
    arrived = parse_login_log(
        f"{SAID}Warning: Permanently added 'gpu01'\nAuthenticated to gpu01 using \"publickey\".\n", 1.0
    )
    assert arrived == LoginInfo(1.0, "publickey", "ssh-rsa SHA256:abc", "unchecked", "OpenSSH_9.9")
