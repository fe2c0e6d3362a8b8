"""A throwaway host leaves nothing of its jobs, and nothing else of the user is touched."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from pathlib import Path

import luigi.configuration
import pytest

from luigi_sshjob import RemoteContext, RemoteJobTask, config
from luigi_sshjob.errors import ConfigurationError, LocalResourceError
from luigi_sshjob.testing import sshd, throwaway_host
from luigi_sshjob.testing.host import TRANSPORTS, why_unavailable

from support import processes

pytestmark = pytest.mark.skipif(sshd.find_sshd() is None, reason="needs an sshd on this machine")

_PARSERS = {"cfg": luigi.configuration.LuigiConfigParser, "toml": luigi.configuration.LuigiTomlParser}
_TEXT = {
    "cfg": "[sshjob]\nruntime-dir=/none\nlog_lines=7\n[sshjob.box.example]\ntransport=paramiko\nmax_jobs=3\n",
    "toml": '[sshjob]\nruntime_dir="/none"\nlog_lines=7\n[sshjob.box.example]\ntransport="paramiko"\nmax_jobs=3\n',
}


class Untidy(RemoteJobTask):
    """Leaves a process with another environment and session, and files that cannot be removed."""

    host = "box.example"

    def command(self):
        return """
            mkdir -p locked/inside && ln -s / locked/link && chmod 0 locked/inside locked
            env -i setsid sleep 4321 &
            echo $! >pid
            exec sleep 4321
        """


@pytest.fixture(params=_PARSERS)
def configuration(request, tmp_path, monkeypatch):
    """A configuration of the user, in either format."""
    path = tmp_path / f"luigi.{request.param}"
    path.write_text(_TEXT[request.param])
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", request.param)
    monkeypatch.setattr(_PARSERS[request.param], "_config_paths", [str(path)])
    monkeypatch.setattr(_PARSERS[request.param], "_instance", None)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_left_but_what_the_test_itself_has_started(configuration, transport):
    before, children = os.environ.copy(), processes.family(os.getpid())
    # as a database server that all tests use, and the first one starts
    with throwaway_host(transport) as host:
        service = subprocess.Popen(["sleep", "4321"], cwd="/")
        run = Untidy().prepare_run()
        run.submit()
        pid = host.home / "pid"
        processes.wait_until(lambda: pid.exists() and pid.read_text() != "", "the pid of the process that is left")
        left = int(pid.read_text())
        assert processes.alive(left)
        settings = config.get_settings("box.example")
        assert (settings.transport, settings.log_lines, settings.max_jobs) == (transport, 7, 3)
    assert not processes.alive(left)
    assert not host.home.parent.exists()
    assert [each.args for each in processes.running() if str(host.home.parent) in each.args] == []
    assert os.environ.copy() == before
    settings = config.get_settings("box.example")
    assert (settings.transport, settings.runtime_dir) == ("paramiko", "/none")
    assert service.poll() is None
    service.kill()
    service.wait()
    assert {each.pid for each in processes.family(os.getpid())} == {each.pid for each in children}


def test_it_accepts_only_its_own_key_and_account(tmp_path):
    with throwaway_host() as host:
        assert RemoteContext("any.example.org").check_output(["echo $HOME"]).decode().strip() == str(host.home)
        other = tmp_path / "key"
        sshd.make_key(other)
        text = Path(config.get_settings().ssh_config).read_text()
        (tmp_path / "config").write_text(text.replace(f"{host.home.parent}/key", str(other)))
        ssh = ["ssh", "-F", tmp_path / "config", "-o", "BatchMode=yes", host.host, "true"]
        refused = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert "Permission denied" in refused.stderr


def test_two_hosts_at_the_same_time_are_independent():
    with throwaway_host():
        with throwaway_host("local"):
            assert RemoteContext("box").check_output(["echo local"]) == b"local\n"
        assert RemoteContext("box").check_output(["echo here"]) == b"here\n"


def test_the_directory_that_sshd_needs_as_root_is_removed_by_the_last_one_unless_it_was_there(tmp_path, monkeypatch):
    path = tmp_path / "sshd"
    monkeypatch.setattr(sshd, "_PRIVILEGE_SEPARATION", path)
    first, second = sshd._privilege_separation_directory(), sshd._privilege_separation_directory()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert path.is_dir()
    second.__exit__(None, None, None)
    assert not path.exists()
    path.mkdir()
    with sshd._privilege_separation_directory():
        pass
    assert path.is_dir()


def test_a_host_that_cannot_be_is_an_error_with_the_reason(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="invalid transport of a throwaway host: 'telnet'"):
        throwaway_host("telnet").__enter__()
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        sshd.make_key(tmp_path / "host_key")
        server = sshd.Sshd(tmp_path, sshd.make_home(tmp_path / "home"), used.getsockname()[1], tmp_path / "host_key")
        with pytest.raises(LocalResourceError, match=r"the throwaway sshd has not started; its log: [\s\S]*in use"):
            server.start()
    monkeypatch.setattr(os, "geteuid", lambda: 12345678)
    assert "the account of this process has no name" in why_unavailable("openssh")
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert "cannot log in, because its shell is" in why_unavailable("openssh")
    monkeypatch.undo()
    monkeypatch.setattr(sshd, "DIRECTORIES", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalResourceError, match="there is no sshd on this machine"):
        server.start()
    with pytest.raises(LocalResourceError, match="no throwaway host can be started: there is no sshd"):
        throwaway_host().__enter__()
