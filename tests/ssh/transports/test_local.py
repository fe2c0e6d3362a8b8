"""The machine of Luigi as its own host: no sshd, and nothing of the process that opens a session."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading

import pytest

from luigi_sshjob import RemoteContext, RemoteJobTask
from luigi_sshjob.doctor.runner import run_checks
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.transports.local.session import login_shell
from luigi_sshjob.ssh.transports.local.transport import LocalTransport
from luigi_sshjob.ssh.transports.openssh.transport import OpenSSHTransport

from support.parallel import in_processes
from support.settings import configure

fork = multiprocessing.get_context("fork")


class Here(RemoteJobTask):
    host = "localhost"

    def command(self):
        return 'echo "$0 $HOME $LEAK $FROM_PROFILE"; pwd; printenv >"$SSHJOB_OUTPUT"'

    def output(self):
        return self.remote_target("made/environment")


@pytest.fixture
def home(luigi_cfg, tmp_path, monkeypatch):
    configure(transport="auto")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_task_on_localhost_runs_as_after_a_login_but_without_ssh(home, monkeypatch, build):
    (home / ".profile").write_text("export FROM_PROFILE=yes\necho welcome\n")
    # there is nothing to log in with
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("LEAK", "leaked")
    task = Here()
    assert build(task)
    environment = dict(line.partition("=")[::2] for line in task.output().open())
    assert environment["FROM_PROFILE"].strip() == "yes"
    assert environment["HOME"].strip() == str(home)
    assert "LEAK" not in environment
    assert "/usr/bin" in environment["PATH"]
    assert (home / "made" / "environment").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("localhost", {}, LocalTransport),
        ("localhost", {"transport": "openssh"}, OpenSSHTransport),
        ("localhost:2222", {}, OpenSSHTransport),
        ("me@localhost", {}, OpenSSHTransport),
        ("localhost", {"key_file": "/key"}, OpenSSHTransport),
        ("box", {}, OpenSSHTransport),
        ("box", {"transport": "local"}, LocalTransport),
    ],
)
def test_localhost_needs_no_ssh_unless_a_login_is_asked_for(home, name, options, kind):
    assert type(RemoteContext(name, **options).connection.transport) is kind


def test_an_account_or_a_port_of_this_machine_is_refused(home):
    for host in ("me@box", "box:22"):
        with pytest.raises(ConfigurationError, match="as the account of this process"):
            RemoteContext(host, transport="local").check_output(["true"])


def test_processes_share_a_session_and_a_killed_one_ends(home):
    context = RemoteContext("localhost")
    assert in_processes(4, context) == [b"hi\n"] * 4
    process = context.Popen(["sleep 300 & sleep 300; wait"])
    process.kill()
    assert (process.wait(10), process.has_exit_status) == (255, False)


def test_a_tunnel_passes_both_directions_at_once(home):
    size = 8_000_000
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"x" * size)
                while connection.recv(1 << 16):
                    pass

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        with RemoteContext("localhost").tunnel(0, server.getsockname()[1], "127.0.0.1") as port:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                # neither side reads before it has written
                sending = threading.Thread(target=client.sendall, args=(b"y" * size,), daemon=True)
                sending.start()
                received = 0
                while received < size:
                    received += len(client.recv(1 << 16))
                sending.join(20)
                assert not sending.is_alive()
            serving.join(20)
            assert not serving.is_alive()


def test_an_account_without_a_login_shell_runs_commands_with_sh():
    def report(queue) -> None:
        os.setuid(65534)  # nobody
        queue.put(login_shell())

    queue = fork.Queue()
    child = fork.Process(target=report, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == "/bin/sh"
    child.join()


def test_the_doctor_checks_this_machine(home):
    report = run_checks(RemoteContext("localhost"))
    assert report.reachable
    found = {result.check: result for result in report.results}
    assert found["login"].text.startswith("none")
    assert not {"name", "host key", "logout"} & found.keys()
    assert found["base_dir"].status.name == "OK"
