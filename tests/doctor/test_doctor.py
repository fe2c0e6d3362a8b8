"""`luigi-sshjob doctor` on real hosts: it finds problems, suggests remedies and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli.main import main
from luigi_sshjob.doctor.checks.storage import check_base_dir, check_space
from luigi_sshjob.doctor.facts import parse_account
from luigi_sshjob.doctor.probes.detach import open_shell
from luigi_sshjob.doctor.report import Status
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.remote_shell import deadline_in

from support import processes
from support.settings import both_transports, configure, through_itself

PROBES = "find /home /mnt /root /tmp /var/tmp -name '.sshjob-tmp.*' -o -name '.probe.*'"

# A login may take long on a busy test machine, which must not change the recommendations.
PATIENT = {"connect_timeout": 100, "request_timeout": 1000}


def add_config(luigi_cfg, text: str) -> None:
    """Put `text` before the client configuration of the host."""
    path = luigi_cfg.path.with_name("ssh_config")
    usual = Path(luigi.configuration.get_config().get("sshjob", "ssh_config")).read_text()
    path.write_text(f"{text}\nHost *\n{usual}")
    configure(ssh_config=path)


def run_doctor(capsys, *arguments: str) -> tuple[int, dict]:
    """Return the exit status, and the results by check, as a script reads them."""
    status = main(["doctor", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["exit_status"] == status
    checks = {finding["check"]: finding for finding in found["findings"] if finding["check"] != "tools"}
    return status, {**found, **checks, "tools": [one for one in found["findings"] if one["check"] == "tools"]}


def listing(host) -> list[str]:
    # without the times of directories: the doctor makes files in some and removes them
    found = host.run("sh", "-c", "find ~ -type d -exec stat -c '%A %U %G %n' {} +; find ~ ! -type d -exec ls -ld {} +")
    return sorted(found.splitlines())


@both_transports
def test_a_healthy_host_gets_no_recommendations_and_is_left_unchanged(host, luigi_cfg, capsys):
    configure(**PATIENT)
    before, logins = listing(host), host.accepted_logins()
    others = []
    if RemoteContext(host.alias).connection.transport.shared:
        others = [RemoteContext(host.alias).Popen(["cat"], stdin=subprocess.PIPE) for _ in range(2)]
        processes.wait_until(lambda: len([args for _, args in host.processes() if args == "cat"]) == 2, "the others")
        logins += 1
    status, found = run_doctor(capsys, host.alias)
    assert (status, found["settings"]) == (0, {})
    assert "fail" not in {finding["verdict"] for finding in found["findings"]}
    # one for the shared connection, unless there is one, and one for the detached process
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
    processes.wait_until(lambda: host.processes() == [], "the end of all processes")
    assert listing(host) == before


@pytest.mark.needs_docker
def test_problems_of_a_host_are_found_also_behind_a_jump_host(special_bench, luigi_cfg, capsys, tmp_path):
    configure(**PATIENT)
    host = special_bench(tmpfs={"/mnt/small": "size=20m,noexec,uid=1000,mode=755"}).host
    host.configure_sshd("MaxSessions 3")
    add_config(luigi_cfg, through_itself(host, tmp_path))
    host.run("sh", "-c", "printf 'echo Welcome\\necho motd >&2\\nsleep 0.55\\n' >.bashrc")
    host.run("mv", "/usr/bin/tar", "/usr/bin/time", "/usr/bin/setsid", "/root", user="root")
    status, found = run_doctor(capsys, "through", "--base-dir", "/mnt/small")
    assert status == 0
    assert found["settings"] == {
        "max_sessions": {"value": "2", "why": "the server allows 3 sessions"},
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
        base = parse_account(opened.call("doctor_facts /mnt/small", deadline=deadline_in(100)).parts).base
    assert check_base_dir(base, "/mnt/small").text.endswith("No space left on device")
    assert {check_base_dir(base, "/mnt/small").status, check_space(base).status} == {Status.FAIL}
    assert host.run("sh", "-c", PROBES, user="root") == ""
    assert host.run("ls", "-A", "/mnt/small") == "zeros\n"


@both_transports
@pytest.mark.parametrize("step", ["name", "connection", "host key", "authentication"])
def test_a_failed_login_is_reported_with_its_step(host, luigi_cfg, capsys, tmp_path, step):
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
    passed = steps[: steps.index(step)]
    assert [marks.pop(name) for name in passed] == ["ok"] * len(passed)
    assert marks.pop(step) == "FAIL"
    assert marks.pop("other checks") == "?"
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


def test_an_existing_master_is_checked_without_a_login(host, luigi_cfg, capsys):
    configure(existing_master="require")
    add_config(luigi_cfg, f"Host {host.alias}\n  ControlPath {luigi_cfg.runtime_dir / 'mine'}")
    status, found = run_doctor(capsys, host.alias)
    assert (status, found["login"]["verdict"]) == (3, "fail")
    assert "log in with `ssh " in found["login"]["remedy"]
    mine = luigi.configuration.get_config().get("sshjob", "ssh_config")
    subprocess.run(["ssh", "-F", mine, "-M", "-N", "-f", host.alias], check=True, stdin=subprocess.DEVNULL)
    logins = host.accepted_logins()
    status, found = run_doctor(capsys, host.alias)
    assert (status, found["settings"]) == (0, {})
    assert found["sessions"]["measured"]["limit"] == 10
    assert {one["check"] for one in found["findings"] if one["verdict"] == "unknown"} == {"host key", "logout"}
    assert host.accepted_logins() == logins


@pytest.mark.parametrize("moment", ["its own login", "its process"])
def test_a_killed_doctor_leaves_nothing_behind(host, luigi_cfg, moment):
    """The shared connection stays open; the doctor's separate login ends with it."""

    def own_login() -> bool:
        return any("ControlPersist=3 " in one.args and host.alias in one.args for one in processes.running())

    def process() -> bool:
        return any(args == "sleep 300" for _, args in host.processes())

    before = listing(host)
    doctor = subprocess.Popen([sys.executable, "-m", "luigi_sshjob.cli", "doctor", host.alias], stdout=subprocess.PIPE)
    with doctor:
        processes.wait_until(own_login if moment == "its own login" else process, moment)
        processes.kill([doctor.pid])
    processes.wait_until(lambda: not own_login() and host.processes() == [], "the end of its login and processes")
    assert listing(host) == before


SCRIPT = """
sbatch() { echo slurm-wlm 22.05.8; }
squeue() { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; return 1; }
"""


def test_every_shell_reports_the_same_facts(far_side):
    far_side.host.run("touch", f"{far_side.base}/file")
    script = f"{scripts.script('server/doctor.sh')}{SCRIPT}"
    response = far_side.call(
        (quoting.Word("eval"), script),
        *((quoting.Word("doctor_directory"), base) for base in (f"{far_side.base}/file/x", "/proc/x")),
        (quoting.Word("doctor_facts"), f"{far_side.base}/none/below"),
        (quoting.Word("doctor_clock"),),
        (quoting.Word("doctor_slurm"),),
        (quoting.Word("doctor_elsewhere"),),
        (quoting.Word("doctor_detach"),),
        (quoting.Word("eval"), 'process_start "$detached"; doctor_adopt "$detached" "$start"'),
        (quoting.Word("doctor_watch"), "0", "0", "2"),
    )
    parts = re.findall(r"^token part (\S+) 0 (.*)$", response, re.MULTILINE)
    start = [kind for kind, _ in parts].index("shell")
    unusable, parts = parts[:start], parts[start:]
    assert ("unwritable", f"{far_side.base}/file is not a directory") in unusable
    assert [place for kind, place in unusable if kind == "place"] == [f"{far_side.base}/file", "/proc"]
    assert len([why for kind, why in unusable if kind == "unwritable" and why]) == 2
    assert "timer" not in dict(unusable)
    facts = dict(reversed(parts))
    assert facts["place"] == far_side.base
    assert (facts["writable"], facts["runs"], facts["survived"]) == ("yes", "yes", "yes")
    assert int(facts["free"]) > 0
    assert int(facts["files"]) > 0
    assert facts["clock"].isdigit()
    assert facts["silent"] == "slurm_load_jobs error: Unable to contact slurm controller"
    assert ("place", far_side.host.home) in parts
    # Debian's busybox has no nohup
    assert {name for kind, name in parts if kind == "missing"} <= {"nohup"}
    assert bool(facts["timer"]) is far_side.has_timer()
    assert not any("sleep 300" in args for _, args in far_side.host.processes())
    assert far_side.host.run("sh", "-c", f"find {far_side.base} ~ /var/tmp -name '.sshjob-tmp.*'") == ""


def test_a_hangup_during_the_end_of_its_shell_leaves_no_process_behind():
    """Session and connection end one after the other: the second must not interrupt what the first has begun."""
    loaded = f"SJ_TOKEN=token\n{scripts.server()}{scripts.script('server/doctor.sh')}serve 0 doctor_detach\n"
    for number in range(60):
        shell = subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        shell.stdin.write(loaded.encode())
        shell.stdin.flush()
        answer = next(line for line in shell.stdout if line.startswith(b"token part detached 0 "))
        detached = int(answer.split()[5])
        shell.stdin.close()
        time.sleep(number % 20 * 0.0002)
        shell.send_signal(signal.SIGHUP)
        shell.wait()
        shell.stdout.close()
        processes.wait_until(lambda pid=detached: not processes.alive(pid), f"the end of process {detached}", 5)


def test_an_invalid_setting_is_reported_as_such_and_not_as_a_failed_login(luigi_cfg, capsys):
    configure(no_such_setting=1)
    status, found = run_doctor(capsys, "never-asked.invalid")
    assert (status, found["configuration"]["verdict"]) == (3, "fail")
    assert found["other checks"]["text"] == "skipped: the configuration must be corrected first"
