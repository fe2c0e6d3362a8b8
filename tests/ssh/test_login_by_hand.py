"""Hosts that only a person can log in to: prompts at a terminal, and pipelines that wait for that."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import LoginNeeded

from support import processes
from support.control_master import kill_master
from support.login_hosts import OneTimePasswordHost
from support.luigi_command import finished
from support.prompts import Prompts
from support.session import SESSION
from support.settings import configure

# in one process, which builds the image of the host
pytestmark = [pytest.mark.needs_docker, pytest.mark.xdist_group("one-time passwords")]

TASKS = """
import luigi, luigi_sshjob

class Waiting(luigi_sshjob.RemoteJobTask):
    host = luigi.Parameter()
    folder = luigi.Parameter()
    poll_interval = 0.5

    def command(self):
        return f'until [ -e {{self.folder}}-go ]; do sleep 0.1; done; echo x >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target(f"{{self.folder}}/out")

@Waiting.event_handler(luigi_sshjob.LOGIN_NEEDED)
def on_login_needed(task, error):
    with open("{ledger}", "a") as file:
        file.write(f"{{task.host}} {{error.next_step}}\\n")
"""


@pytest.fixture
def otp_host(luigi_cfg, pytestconfig, tmp_path):
    made = OneTimePasswordHost(tmp_path / "otp", client=pytestconfig.stash[SESSION].docker)
    made.start()
    configure(ssh_config=made.ssh_config)
    text = luigi_cfg.path.read_text()
    luigi_cfg.path.write_text(re.sub("ssh_config=.*", f"ssh_config={made.ssh_config}", text))
    yield made
    main(["logout", made.alias])
    made.stop()


def log_in(host, code: str, *options: str) -> str:
    """Log in by hand; return what was printed at the end."""
    with Prompts([sys.executable, "-m", "luigi_sshjob.cli", "login", host.alias, *options]) as terminal:
        terminal.expect("One-time password")
        terminal.type(code)
        assert terminal.finish() == 0, terminal.text
        return terminal.text


def refused_logins(host) -> int:
    return host.log_text().count("Connection closed by authenticating user")


def test_a_login_by_hand_opens_the_connection_of_all_processes(otp_host, capsys):
    codes = otp_host.codes()
    with pytest.raises(LoginNeeded, match=f"Next: run `luigi-sshjob login {otp_host.alias}` in a terminal"):
        RemoteContext(otp_host.alias).check_output(["true"])
    # nothing else is tried
    for _ in range(3):
        with pytest.raises(LoginNeeded):
            RemoteContext(otp_host.alias).check_output(["true"])
    assert refused_logins(otp_host) == 1
    text = log_in(otp_host, next(codes), "--keep", "90m")
    assert re.search(r"kept until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+, or for 1 h 30 min after its last use", text), text
    assert f"luigi-sshjob logout {otp_host.alias}" in text
    assert RemoteContext(otp_host.alias).check_output(["echo in"]) == b"in\n"
    assert main(["login", otp_host.alias]) == 0
    assert "there is a connection" in capsys.readouterr().out
    assert main(["connections"]) == 0
    assert re.search(rf"^{otp_host.alias} +\d+ s +1 h 30 min +\d$", capsys.readouterr().out, re.MULTILINE)
    assert main(["connections", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["host"], row["kept_after_last_use"]) == (otp_host.alias, 5400)
    assert main(["logout", otp_host.alias]) == 0
    assert main(["logout", otp_host.alias]) == 1
    assert main(["connections", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.rpartition("keep running\n")[2]) == []


def test_a_passphrase_is_asked_for_at_the_terminal(host, luigi_cfg, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "its passphrase", "-f", key], check=True)
    host.authorize(key.with_suffix(".pub").read_text())
    path = tmp_path / "config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), str(key)))
    configure(ssh_config=path)
    luigi_cfg.path.write_text(re.sub("ssh_config=.*", f"ssh_config={path}", luigi_cfg.path.read_text()))
    with Prompts([sys.executable, "-m", "luigi_sshjob.cli", "login", host.alias]) as terminal:
        terminal.expect("Enter passphrase for key")
        terminal.type("its passphrase")
        assert terminal.finish() == 0, terminal.text
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"


def test_only_openssh_has_a_connection_to_open_by_hand(luigi_cfg, host, capsys):
    for transport in ("paramiko", "local"):
        assert main(["login", "box", "--transport", transport]) == 3
        assert "only the transport openssh" in capsys.readouterr().err


def test_a_connection_of_the_user_is_left_alone(host, luigi_cfg, tmp_path, capsys):
    path = tmp_path / "config"
    path.write_text(f"ControlPath {luigi_cfg.runtime_dir}/own\n{host.ssh_config.read_text()}")
    configure(existing_master="require", ssh_config=path)
    for command in ("login", "logout"):
        assert main([command, host.alias]) == 3
        assert "your own ssh opens and closes this connection" in capsys.readouterr().err


def test_a_wrong_code_is_an_error_and_the_next_try_may_succeed(otp_host):
    codes = otp_host.codes()
    with Prompts([sys.executable, "-m", "luigi_sshjob.cli", "login", otp_host.alias]) as terminal:
        for _ in range(3):
            terminal.expect("One-time password")
            terminal.type("000000")
        assert terminal.finish() == 3
    assert "the host has refused the password, or another response" in terminal.text
    assert "debug1" not in terminal.text
    log_in(otp_host, next(codes))
    assert RemoteContext(otp_host.alias).check_output(["echo in"]) == b"in\n"


def test_a_running_pipeline_says_once_that_it_needs_a_login_waits_and_goes_on(
    otp_host, luigi_cfg, tmp_path, monkeypatch, start_luigi
):
    codes = otp_host.codes()
    log_in(otp_host, next(codes))
    ledger = tmp_path / "ledger"
    (tmp_path / "waiting.py").write_text(TASKS.format(ledger=ledger))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = start_luigi(
        "--module", "waiting", "Waiting", "--host", otp_host.alias, "--folder", "made", "--local-scheduler"
    )
    processes.wait_until(lambda: "submitted as" in process.log.read_text(), "the submission")
    kill_master(RemoteContext(otp_host.alias))
    processes.wait_until(lambda: "Waiting for the login" in process.log.read_text(), "the message")
    processes.wait_until(ledger.exists, "the event")
    otp_host.run("touch", "made-go")
    log_in(otp_host, next(codes))
    text = finished(process)
    assert text.count("Waiting for the login") == 1
    assert ledger.read_text().count(f"{otp_host.alias} run `luigi-sshjob login {otp_host.alias}`") == 1
    assert otp_host.run("cat", "made/out") == "x\n"
    # the one that found out that a person is needed
    assert refused_logins(otp_host) == 1
