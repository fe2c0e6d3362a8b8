"""Tests of the test hosts, on which all other tests rely."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from luigi_sshjob.config import sshjob

from support.hosts import CommandFailed, DockerHost, Host
from support.processes import wait_until


def ssh(host: Host, *args: str) -> str:
    return subprocess.run(
        ["ssh", "-F", str(host.ssh_config), "-o", "BatchMode=yes", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_one_plain_ssh_is_one_accepted_login(host: Host) -> None:
    """A login is counted once; access without ssh is not counted."""
    before = host.accepted_logins()
    assert ssh(host, host.alias, "echo ~; id -un").split() == [host.home, host.username]
    assert host.accepted_logins() == before + 1
    host.run("true")
    host.processes()
    assert host.accepted_logins() == before + 1


def test_a_changed_host_key_is_refused(host: Host, tmp_path: Path) -> None:
    """The configuration pins the host's key, as tests of host key verification assume."""
    pinned, other = (
        host.known_hosts.read_text().split(),
        host.key_file.with_suffix(".pub").read_text().split(),
    )
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{pinned[0]} {other[0]} {other[1]}\n")
    before = host.accepted_logins()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ssh(host, "-o", f"UserKnownHostsFile={known_hosts}", host.alias, "true")
    assert refused.value.returncode == 255
    assert host.accepted_logins() == before


def test_run_returns_output_and_raises_on_failure(host: Host) -> None:
    """Arguments, input and bytes arrive unchanged, and a failure contains the stderr of the command."""
    hostile = 'a\'; echo foo "b" $(x)\n日本'
    assert host.run("printf", "%s", hostile) == hostile
    assert host.run("cat", input=hostile * 10_000) == hostile * 10_000
    assert host.run("pwd") == f"{host.home}\n"
    assert host.run("printf", r"\377").encode(errors="surrogateescape") == b"\xff"
    assert host.run("sh", "-c", "echo out; exit 3", check=False) == "out\n"
    with pytest.raises(CommandFailed, match="exited with 3: why") as failure:
        host.run("sh", "-c", "echo why >&2; exit 3")
    assert failure.value.status == 3


@pytest.mark.needs_docker
def test_the_engine_and_the_namespaces_of_a_container_run_a_command_alike(host: DockerHost, monkeypatch) -> None:
    """With the same account, folder, variables, input and output, in its own session, and with the same status."""
    own = "read -r pid _ _ parent group session _ </proc/$$/stat; echo $parent $((pid - group)) $((pid - session))"
    script = f"echo why >&2; id -u; id -g; pwd; umask; env | sort; cat; {own}; kill -9 $$"

    def seen(data: bytes | None) -> tuple[int, bytes, bytes]:
        return host._run(("sh", "-c", script), host.username, data)

    fast = seen(b"\xff\n"), seen(None)
    monkeypatch.setattr(host, "_namespaces", None)
    assert fast == (seen(b"\xff\n"), seen(None))
    for status, output, _ in fast:
        assert (status, output.splitlines()[-1]) == (137, b"0 0 0")


def test_processes_lists_what_an_ssh_session_left_running(host: Host) -> None:
    """A detached process is listed until it ends, also after its session."""
    wait_until(lambda: host.processes() == [], "the end of what other tests killed")
    pid = int(ssh(host, host.alias, "setsid sleep 4321 </dev/null >/dev/null 2>&1 & echo $!"))
    wait_until(lambda: host.processes() == [(pid, "sleep 4321")], "nothing but the detached sleep")
    host.run("kill", str(pid))
    wait_until(lambda: host.processes() == [], "the end of the sleep")


def test_luigi_reads_the_configuration_of_the_test(luigi_cfg, host: Host) -> None:
    """This process and its children read the [sshjob] of this test; its ControlMasters end with the test."""
    assert sshjob().ssh_config == str(host.ssh_config)
    assert sshjob().runtime_dir == str(luigi_cfg.runtime_dir)
    assert os.environ["LUIGI_CONFIG_PATH"] == str(luigi_cfg.path)
    assert luigi_cfg.runtime_dir.stat().st_mode & 0o777 == 0o700
    control = luigi_cfg.runtime_dir / ("c" * 40)
    before = host.accepted_logins()
    ssh(host, "-fNM", "-E", str(luigi_cfg.runtime_dir / "log"), "-S", str(control), host.alias)
    assert ssh(host, "-S", str(control), host.alias, "echo shared") == "shared\n"
    assert host.accepted_logins() == before + 1


@pytest.mark.needs_docker
def test_a_paused_host_is_silent_and_a_restarted_one_has_lost_its_processes(host: DockerHost) -> None:
    """A pause keeps processes; a restart ends them, and keeps port, keys and log."""
    wait_until(lambda: host.processes() == [], "the end of what other tests killed")
    host.run("sh", "-c", "setsid sleep 4321 </dev/null >/dev/null 2>&1 &")
    logins = host.accepted_logins()
    host.pause()
    try:
        with pytest.raises(subprocess.CalledProcessError):
            ssh(host, "-o", "ConnectTimeout=1", host.alias, "true")
        assert host.accepted_logins() == logins
    finally:
        host.unpause()
    assert [args for _, args in host.processes()] == ["sleep 4321"]
    host.restart()
    assert host.processes() == []
    ssh(host, host.alias, "true")
    assert host.accepted_logins() == logins + 1
