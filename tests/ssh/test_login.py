"""One login per host, for all processes."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import luigi.configuration
import luigi.format
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.errors import ConfigurationError, HostUnreachable, LoginRefused
from luigi_sshjob.ssh.transports.login import LoginFailures

from support import processes
from support.control_master import kill_master
from support.parallel import in_processes
from support.settings import add_ssh_config, both_transports, configure, through_itself

fork = multiprocessing.get_context("fork")


@pytest.mark.core
@pytest.mark.needs("exit status of every session", "silent rc file")
def test_concurrent_processes_share_one_login(host, luigi_cfg):
    before = host.accepted_logins()
    assert in_processes(20, RemoteContext(host.alias)) == [b"hi\n"] * 20
    assert host.accepted_logins() == before + 1


def logins_of(luigi_cfg) -> list[processes.Process]:
    return [p for p in processes.running() if str(luigi_cfg.runtime_dir) in p.args and p.args.startswith("ssh ")]


def start_login(alias: str, luigi_cfg, end: str) -> None:
    threading.Thread(target=RemoteContext(alias).check_output, args=(["true"],), daemon=True).start()
    processes.wait_until(lambda: logins_of(luigi_cfg), "a login")
    if end == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("end", ["is killed", "ends"])
def test_a_login_outlives_its_process_and_excludes_others(host, luigi_cfg, proxy, end):
    """Of two masters at a time ssh leaves one without a socket, permanently."""
    before = host.accepted_logins()
    proxy.silence()
    first = fork.Process(target=start_login, args=(host.alias, luigi_cfg, end))
    first.start()
    first.join(20)
    assert len(logins_of(luigi_cfg)) == 1
    restored = threading.Timer(1, proxy.restore)
    restored.start()
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    restored.join()
    assert host.accepted_logins() == before + 1
    assert len([p for p in logins_of(luigi_cfg) if "[mux]" not in p.args]) <= 1


@pytest.mark.core
def test_a_lost_master_costs_one_login(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert not files.exists("nothing")
    before = host.accepted_logins()
    kill_master(files.remote_context)
    assert not files.exists("nothing")
    assert host.accepted_logins() == before + 1


@both_transports
def test_an_edited_ssh_configuration_gets_a_new_connection(host, luigi_cfg):
    add_ssh_config(luigi_cfg, "")
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  HostName no-such-host.invalid")
    (answer,) = in_processes(1, RemoteContext(host.alias))
    assert isinstance(answer, LoginRefused)
    assert "resolve hostname no-such-host" in str(answer)


def test_loglevel_quiet_does_not_hide_errors(host, refused_key):
    path = Path(luigi.configuration.get_config().get("sshjob", "ssh_config"))
    path.write_text(f"LogLevel QUIET\n{path.read_text()}")
    with pytest.raises(LoginRefused, match="Permission denied"):
        RemoteContext(host.alias).check_output(["true"])


def test_a_refused_key_is_reported_with_the_command_to_fix(host, refused_key):
    before = host.accepted_logins()
    with pytest.raises(LoginRefused, match=r"Permission denied[\s\S]*Next: make `ssh .* true` work"):
        RemoteContext(host.alias).check_output(["true"])
    assert host.accepted_logins() == before


def test_processes_that_waited_for_a_failed_login_do_not_retry_it(host, refused_key):
    """Servers lock an account after too many failed logins; a hundred waiting processes must not each make one."""
    log = len(host.log_text())
    answers = in_processes(8, RemoteContext(host.alias))
    assert [type(answer) for answer in answers] == [LoginRefused] * 8
    assert len(re.findall("Connection from ", host.log_text()[log:])) == 1


def test_a_failure_dated_in_the_future_delays_no_login(tmp_path):
    failures = LoginFailures(tmp_path / "note", "box")
    failures.record(LoginRefused("no", host="box", next_step="none"))
    with pytest.raises(LoginRefused):
        failures.wait_or_raise(time.time())
    os.utime(tmp_path / "note", (time.time() + 3600, time.time() + 3600))
    failures.wait_or_raise(time.time())


@both_transports
def test_a_refused_login_is_not_repeated_by_each_task(host, refused_key):
    tries = "Connection closed by authenticating user"
    before = len(re.findall(tries, host.log_text()))
    for _ in range(5):
        with pytest.raises(LoginRefused):
            RemoteFileSystem(host.alias).exists("/")
    assert len(re.findall(tries, host.log_text())) <= before + 1


def test_the_users_ssh_configuration_is_honoured(host, luigi_cfg):
    """Alias, Port, User and ProxyJump; and a client still cannot log in over the jump host."""
    add_ssh_config(luigi_cfg, through_itself(host, luigi_cfg.path.parent))
    before = host.accepted_logins()
    context = RemoteContext("through")
    assert context.check_output(["echo in"]) == b"in\n"
    assert host.accepted_logins() == before + 2
    command = context._prepare_cmd(["true"])
    context.close()
    assert subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 255
    assert host.accepted_logins() == before + 2


@pytest.mark.needs_docker
def test_a_server_that_allows_one_login_at_a_time_gets_one(special_bench, luigi_cfg):
    bench = special_bench()
    bench.host.configure_sshd("MaxStartups 1")
    assert in_processes(40, RemoteContext(bench.host.alias)) == [b"hi\n"] * 40
    assert bench.host.accepted_logins() == 1
    assert "MaxStartups" not in bench.host.log_text()


def test_a_required_existing_master_is_used_and_nothing_logs_in(host, luigi_cfg, tmp_path):
    configure(existing_master="require")
    with pytest.raises(ConfigurationError, match=r"no ControlPath[\s\S]*Next: "):
        RemoteFileSystem(host.alias).exists("/")
    path = luigi_cfg.runtime_dir / "mine"
    add_ssh_config(luigi_cfg, f"Host {host.alias}\n  ControlPath {path}")
    files = RemoteFileSystem(host.alias)
    before = host.accepted_logins()
    with pytest.raises(HostUnreachable, match=r"no existing master[\s\S]*Next: log in with `ssh "):
        files.exists("/")
    assert host.accepted_logins() == before
    mine = luigi.configuration.get_config().get("sshjob", "ssh_config")
    subprocess.run(["ssh", "-F", mine, "-M", "-N", "-f", host.alias], check=True, stdin=subprocess.DEVNULL)
    assert files.exists("/")
    files.remote_context.close()
    # it belongs to the user
    assert subprocess.run(["ssh", "-F", mine, "-O", "check", host.alias], capture_output=True).returncode == 0
    assert host.accepted_logins() == before + 1
