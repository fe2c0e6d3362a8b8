"""One login per host, closed failure, and an error for every way in which there is no connection."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import luigi.configuration
import luigi.contrib.ssh
import pytest

from luigi_sshjob import RemoteContext, RemoteFileSystem, RemoteTarget
from luigi_sshjob.errors import ConfigurationError, ConnectionFailed, HostUnreachable, LoginRefused
from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.ssh.transports.login import LoginFailures
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter

from support import processes
from support.control_master import kill_master, master_pid
from support.settings import both_transports, configure, through_itself

fork = multiprocessing.get_context("fork")


def ssh_config(luigi_cfg, text: str) -> None:
    """Puts `text` before the host's own client configuration."""
    path = luigi_cfg.path.with_name("ssh_config")
    path.write_text(text + "\nHost *\n" + luigi_cfg.ssh_config.read_text())
    configure(ssh_config=path)


def answer_after(start, context, results) -> None:
    start.wait()
    try:
        results.put(context.check_output(["sleep 0.2; echo hi"]))
    except Exception as error:
        results.put(error)


def in_processes(count: int, context: RemoteContext) -> list[object]:
    start, results = fork.Event(), fork.Queue()
    workers = [fork.Process(target=answer_after, args=(start, context, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    start.set()
    answers = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(30)
    return answers


@pytest.mark.core
@pytest.mark.needs("exit status of every session", "silent rc file")
def test_many_processes_at_once_make_one_login(host, luigi_cfg):
    before = host.accepted_logins()
    assert in_processes(20, RemoteContext(host.alias)) == [b"hi\n"] * 20
    assert host.accepted_logins() == before + 1


def test_more_processes_than_sessions_wait_their_turn(host, luigi_cfg):
    configure(max_sessions=2)
    before, log = host.accepted_logins(), len(host.log_text())
    assert in_processes(12, RemoteContext(host.alias)) == [b"hi\n"] * 12
    assert host.accepted_logins() == before + 1
    sessions = most = 0
    for word in re.findall("(Starting|Close) session: ", host.log_text()[log:]):
        sessions += 1 if word == "Starting" else -1
        most = max(most, sessions)
    # sshd writes of a session's end a moment after its client has seen it
    assert 2 <= most <= 3


def test_a_client_whose_master_is_gone_fails_and_does_not_log_in(host, luigi_cfg):
    context = RemoteContext(host.alias)
    command = context._prepare_cmd(["echo in"])
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"in\n"
    context.close()
    before = host.accepted_logins()
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (255, b"")
    assert host.accepted_logins() == before


@pytest.fixture
def until_told(host, text_folder):
    """A command for sessions that are open at the same time, and what ends them."""
    go = f"{text_folder}/go"
    return f"while ! [ -e {go} ]; do sleep 0.1; done", lambda: host.run("touch", go)


def test_clients_above_max_sessions_fail_and_do_not_log_in(host, luigi_cfg, until_told):
    context = RemoteContext(host.alias)
    script, tell = until_told
    command = context._prepare_cmd([script])
    before = host.accepted_logins()
    clients = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(13)]
    processes.wait_until(lambda: sum(client.poll() is not None for client in clients) == 3, "the end of three")
    tell()
    assert sorted(client.wait(30) for client in clients) == [0] * 10 + [255] * 3
    assert host.accepted_logins() == before


def test_refused_sessions_are_waited_for(host, luigi_cfg, until_told):
    """Others may use the connection's sessions too; a request of ours then comes later, not over a new login."""
    context = RemoteContext(host.alias)
    script, tell = until_told
    command = context._prepare_cmd([script])
    others = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(10)]
    processes.wait_until(lambda: sum(script in args for _, args in host.processes()) >= 10, "ten sessions")
    before = host.accepted_logins()
    telling = threading.Timer(2, tell)
    telling.start()
    assert not RemoteFileSystem(host.alias).exists("nothing")
    telling.join()
    assert host.accepted_logins() == before
    for other in others:
        assert other.wait(30) == 0


def test_sessions_are_bounded_by_as_many_as_the_server_had_when_it_refused_one_more(tmp_path):
    gate = SessionLimiter(tmp_path, "box", 8)
    held = [gate.acquire(deadline=0, host="box") for _ in range(4)]
    held.pop().release(remove=True)
    gate.learn_limit()
    assert gate.limit == 3


def test_a_master_that_is_stopped_or_busy_is_not_taken_for_a_dead_one(host, luigi_cfg):
    """Else the next one logs in beside it, and takes its socket away."""
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    master, pid = context.connection.transport.master, master_pid(context)
    identity = master.identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        # more than its socket has room for
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(100)]
        for each in waiting:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(master.control_path)
        assert master.alive()
        assert master.identity() == identity
        begin = time.monotonic()
        with master.keep_open():
            assert time.monotonic() - begin < 10
    finally:
        for each in waiting:
            each.close()
        os.kill(pid, signal.SIGCONT)
    assert context.check_output(["echo on"]) == b"on\n"


def logins_of(luigi_cfg) -> list[processes.Process]:
    return [p for p in processes.running() if str(luigi_cfg.runtime_dir) in p.args and p.args.startswith("ssh ")]


def begin_a_login(alias: str, luigi_cfg, end: str) -> None:
    threading.Thread(target=RemoteContext(alias).check_output, args=(["true"],), daemon=True).start()
    processes.wait_until(lambda: logins_of(luigi_cfg), "a login")
    if end == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("end", ["is killed", "ends"])
def test_a_login_goes_on_where_whoever_began_it_has_gone_and_no_other_is_made_beside_it(host, luigi_cfg, proxy, end):
    """Of two at a time ssh leaves one without a socket, for ever."""
    before = host.accepted_logins()
    proxy.silence()
    first = fork.Process(target=begin_a_login, args=(host.alias, luigi_cfg, end))
    first.start()
    first.join(20)
    assert len(logins_of(luigi_cfg)) == 1
    restored = threading.Timer(1, proxy.restore)
    restored.start()
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    restored.join()
    assert host.accepted_logins() == before + 1
    assert len([p for p in logins_of(luigi_cfg) if "[mux]" not in p.args]) <= 1


def test_a_runtime_directory_that_somebody_else_has_made_anew_is_not_trusted(host, luigi_cfg):
    """What listens there could send a leader's answers, which are unpickled."""
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    close_shells()
    files.remote_context.close()
    shutil.rmtree(luigi_cfg.runtime_dir)
    luigi_cfg.runtime_dir.mkdir()
    luigi_cfg.runtime_dir.chmod(0o777)
    with pytest.raises(ConfigurationError, match="not private to this account"):
        files.exists("/")
    assert list(luigi_cfg.runtime_dir.iterdir()) == []


@pytest.mark.core
def test_a_lost_master_costs_one_more_login_and_nothing_else(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert not files.exists("nothing")
    before = host.accepted_logins()
    kill_master(files.remote_context)
    assert not files.exists("nothing")
    assert host.accepted_logins() == before + 1


def test_a_forked_child_leaves_its_parents_session_alone(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert not files.exists("nothing")
    results = fork.Queue()
    child = fork.Process(target=lambda: results.put([files.exists("/") for _ in range(50)]))
    child.start()
    assert not any(files.exists("nothing") for _ in range(50))
    assert all(results.get(timeout=30))
    child.join(30)


@both_transports
def test_an_unused_session_is_given_to_whoever_waits(host, luigi_cfg):
    configure(max_sessions=1)
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    results = fork.Queue()
    child = fork.Process(target=lambda: results.put(files.exists("/")))
    child.start()
    assert results.get(timeout=20) is True
    child.join(30)


@pytest.mark.alone
@pytest.mark.needs_docker
def test_a_host_that_stops_answering_is_noticed_by_a_deadline(host, luigi_cfg):
    configure(request_timeout=1)
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    host.pause()
    try:
        with pytest.raises(HostUnreachable, match="did not respond in time"):
            files.exists("/")
    finally:
        host.unpause()
    configure(request_timeout=60)
    assert files.exists("/")


@both_transports
def test_what_an_rc_file_prints_is_taken_for_nothing(host, luigi_cfg):
    saved = host.run("sh", "-c", "cat .bashrc 2>/dev/null || true")
    host.run("sh", "-c", "{ echo 'echo welcome; echo careful >&2'; cat; } >.bashrc", input=saved)
    try:
        target = RemoteTarget("~/noise", host.alias)
        with target.open("w") as out:
            out.write("quiet\n")
        assert host.run("cat", "noise") == "quiet\n"
        assert target.open().read() == "quiet\n"
        assert target.exists()
    finally:
        host.run("sh", "-c", "cat >.bashrc; rm -f noise", input=saved)


def test_what_an_rc_file_says_of_permissions_is_no_refused_login(host, luigi_cfg):
    saved = host.run("sh", "-c", "cat .bashrc 2>/dev/null || true")
    host.run("sh", "-c", "{ echo 'echo x: Permission denied >&2'; cat; } >.bashrc", input=saved)
    try:
        files = RemoteFileSystem(host.alias)
        assert files.exists("/")
        agents = [pid for pid, args in host.processes() if args == "/bin/sh -s"]
        host.run("kill", "-9", *map(str, agents))
        assert files.exists("/")
    finally:
        host.run("sh", "-c", "cat >.bashrc", input=saved)


@both_transports
@pytest.mark.needs_docker
def test_an_account_without_a_shell_is_said(host, luigi_cfg):
    host.run("usermod", "-s", "/usr/sbin/nologin", host.username, user="root")
    try:
        with pytest.raises(LoginRefused, match=r"runs no /bin/sh[\s\S]*not available[\s\S]*Next: see what its login"):
            RemoteFileSystem(host.alias).exists("/")
    finally:
        host.run("usermod", "-s", "/bin/bash", host.username, user="root")


@both_transports
@pytest.mark.needs_docker
@pytest.mark.parametrize(("command", "said"), [("echo for backups only", "for backups only"), ("internal-sftp", "")])
def test_an_account_that_may_run_one_command_is_said(special_bench, command, said):
    host = special_bench().host
    host.configure_sshd(f"ForceCommand {command}")
    with pytest.raises(
        LoginRefused, match=rf"{host.alias}, while opening a session: .*{said}[\s\S]*Next: .*ForceCommand"
    ):
        RemoteFileSystem(host.alias).exists("/")


def test_a_runtime_directory_that_was_tidied_up_is_made_again(host, luigi_cfg):
    files = RemoteFileSystem(host.alias)
    assert files.exists("/")
    files.remote_context.close()
    # ssh may be about to remove its socket itself
    shutil.rmtree(luigi_cfg.runtime_dir, ignore_errors=True)
    assert files.exists("/")


@both_transports
def test_an_edited_ssh_configuration_is_not_answered_by_an_older_connection(host, luigi_cfg):
    ssh_config(luigi_cfg, "")
    assert RemoteContext(host.alias).check_output(["echo in"]) == b"in\n"
    ssh_config(luigi_cfg, f"Host {host.alias}\n  HostName no-such-host.invalid")
    (answer,) = in_processes(1, RemoteContext(host.alias))
    assert isinstance(answer, LoginRefused)
    assert "resolve hostname no-such-host" in str(answer)


@pytest.fixture
def refused_key(host, luigi_cfg, tmp_path):
    """A client configuration whose key the host does not know."""
    other = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    path = tmp_path / "refused_config"
    path.write_text(host.ssh_config.read_text().replace(str(host.key_file), str(other)))
    configure(ssh_config=path)


@both_transports
def test_a_key_file_that_is_not_there_is_said(host, luigi_cfg):
    with pytest.raises(ConfigurationError, match="key file not found: /nokey"):
        RemoteContext(host.alias, key_file="/nokey").check_output(["true"])


def test_a_quiet_ssh_configuration_does_not_hide_what_is_wrong(host, refused_key):
    path = Path(luigi.configuration.get_config().get("sshjob", "ssh_config"))
    path.write_text(f"LogLevel QUIET\n{path.read_text()}")
    with pytest.raises(LoginRefused, match="Permission denied"):
        RemoteContext(host.alias).check_output(["true"])


def test_a_refused_key_says_what_to_make_work(host, refused_key):
    before = host.accepted_logins()
    with pytest.raises(LoginRefused, match=r"Permission denied[\s\S]*Next: make `ssh .* true` work"):
        RemoteContext(host.alias).check_output(["true"])
    assert host.accepted_logins() == before


def test_who_waited_while_a_login_failed_gets_that_failure_and_does_not_try(host, refused_key):
    """Accounts are locked for too many failed logins; a hundred waiting processes must not each make one."""
    log = len(host.log_text())
    answers = in_processes(8, RemoteContext(host.alias))
    assert [type(answer) for answer in answers] == [LoginRefused] * 8
    assert len(re.findall("Connection from ", host.log_text()[log:])) == 1


def test_a_failure_that_a_clock_set_back_puts_in_the_future_keeps_nobody_from_logging_in(tmp_path):
    failures = LoginFailures(tmp_path / "note", "box")
    failures.record(LoginRefused("no", host="box", next_step="none"))
    with pytest.raises(LoginRefused):
        failures.wait_or_raise(time.time())
    os.utime(tmp_path / "note", (time.time() + 3600, time.time() + 3600))
    failures.wait_or_raise(time.time())


def test_the_users_ssh_configuration_is_honoured(host, luigi_cfg):
    """Alias, Port, User and ProxyJump; and a client still cannot log in by way of the jump host."""
    ssh_config(luigi_cfg, through_itself(host, luigi_cfg.path.parent))
    before = host.accepted_logins()
    context = RemoteContext("through")
    assert context.check_output(["echo in"]) == b"in\n"
    assert host.accepted_logins() == before + 2
    command = context._prepare_cmd(["true"])
    context.close()
    assert subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 255
    assert host.accepted_logins() == before + 2


def test_contexts_are_equal_where_they_reach_the_same_account_in_the_same_way():
    assert RemoteContext("box", port=2222) == RemoteContext("box", port="2222") == RemoteContext("box:2222")
    assert RemoteContext("job@box") == RemoteContext("box", username="job")
    assert RemoteContext("box") != RemoteContext("box", no_host_key_check=True)
    assert hash(RemoteContext("box", port=1)) == hash(RemoteContext("box", port="1"))


@pytest.mark.parametrize("name", ["", "-oProxyCommand=true", "user@-oX", "two words", "a\0b", "line\nbreak"])
def test_a_host_that_ssh_could_take_for_something_else_is_refused(name):
    with pytest.raises(ConfigurationError, match="invalid host name"):
        RemoteContext(name)


@pytest.mark.parametrize("options", [{"prot": 22}, {"port": "ssh"}, {"port": 70000}, {"username": "-l"}])
def test_an_ssh_option_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigurationError, match="Next: "):
        RemoteContext("box", **options)


def test_the_runtime_directory_is_the_accounts_own(host, luigi_cfg, tmp_path):
    assert luigi_cfg.runtime_dir.stat().st_mode & 0o777 == 0o700
    shared = Path(os.path.dirname(luigi_cfg.runtime_dir), "r-open")
    shared.mkdir()
    shared.chmod(0o755)
    configure(runtime_dir=shared)
    try:
        with pytest.raises(ConfigurationError, match="not private to this account"):
            RemoteContext(host.alias).check_output(["true"])
    finally:
        shared.rmdir()


def test_a_path_too_long_for_a_socket_is_refused_before_ssh_sees_it(host, luigi_cfg, tmp_path):
    configure(runtime_dir=tmp_path / ("x" * 80))
    with pytest.raises(ConfigurationError, match="path too long for a control socket"):
        RemoteContext(host.alias).check_output(["true"])


@pytest.mark.core
def test_a_tunnel_is_a_port_of_the_connection_that_is_there(host, luigi_cfg):
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    before = host.accepted_logins()
    inside = 22 if host.kind == "docker" else host.port
    with context.tunnel(0, inside, "127.0.0.1") as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as through:
            assert through.recv(4) == b"SSH-"
        with pytest.raises(ConnectionFailed, match="check that the local port is free"), context.tunnel(port, inside):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    assert host.accepted_logins() == before


def test_a_tunnel_that_nobody_uses_stays_open(host, luigi_cfg):
    configure(control_persist=2)
    inside = 22 if host.kind == "docker" else host.port
    with RemoteContext(host.alias).tunnel(0, inside, "127.0.0.1") as port:
        time.sleep(4)  # longer than an unused master lives
        with socket.create_connection(("127.0.0.1", port), timeout=10) as through:
            assert through.recv(4) == b"SSH-"


def test_a_master_ends_by_itself_when_nobody_uses_it(host, luigi_cfg):
    configure(control_persist=3)
    context = RemoteContext(host.alias)
    context.check_output(["true"])
    pid = master_pid(context)
    processes.wait_until(lambda: not processes.alive(pid), "the end of the unused master")
    assert not Path(context.connection.transport.master.control_path).exists()


@pytest.mark.needs_docker
def test_a_server_that_allows_one_session_gets_one_at_a_time(special_bench, luigi_cfg):
    """Less than max_sessions says: the refusals are learnt from."""
    bench = special_bench()
    bench.host.configure_sshd("MaxSessions 1")
    context = RemoteContext(bench.host.alias)
    assert in_processes(6, context) == [b"hi\n"] * 6
    assert context.connection.transport.session_limiter.limit == 1
    assert RemoteFileSystem(bench.host.alias).exists("/")
    outcome, seen = bench.run("sleep 1; echo done")
    assert (outcome.state, seen) == ("succeeded", b"done\n")
    assert bench.host.accepted_logins() == 1


@pytest.mark.needs_docker
def test_a_server_that_allows_one_login_at_a_time_gets_one(special_bench, luigi_cfg):
    bench = special_bench()
    bench.host.configure_sshd("MaxStartups 1")
    assert in_processes(40, RemoteContext(bench.host.alias)) == [b"hi\n"] * 40
    assert bench.host.accepted_logins() == 1
    assert "MaxStartups" not in bench.host.log_text()


def test_the_users_own_connection_is_used_where_required_and_nothing_ever_logs_in(host, luigi_cfg, tmp_path):
    configure(existing_master="require")
    with pytest.raises(ConfigurationError, match=r"no ControlPath[\s\S]*Next: "):
        RemoteFileSystem(host.alias).exists("/")
    path = luigi_cfg.runtime_dir / "mine"
    ssh_config(luigi_cfg, f"Host {host.alias}\n  ControlPath {path}")
    files = RemoteFileSystem(host.alias)
    before = host.accepted_logins()
    with pytest.raises(HostUnreachable, match=r"no existing master[\s\S]*Next: log in with `ssh "):
        files.exists("/")
    assert host.accepted_logins() == before
    mine = luigi.configuration.get_config().get("sshjob", "ssh_config")
    subprocess.run(["ssh", "-F", mine, "-M", "-N", "-f", host.alias], check=True, stdin=subprocess.DEVNULL)
    assert files.exists("/")
    files.remote_context.close()
    # it is the user's
    assert subprocess.run(["ssh", "-F", mine, "-O", "check", host.alias], capture_output=True).returncode == 0
    assert host.accepted_logins() == before + 1


@both_transports
def test_a_refused_login_is_not_tried_again_by_each_task(host, refused_key):
    tries = "Connection closed by authenticating user"
    before = len(re.findall(tries, host.log_text()))
    for _ in range(5):
        with pytest.raises(LoginRefused):
            RemoteFileSystem(host.alias).exists("/")
    assert len(re.findall(tries, host.log_text())) <= before + 1


def test_sessions_are_given_first_come_first_served(tmp_path):
    gate = SessionLimiter(tmp_path, "key", 1)
    deadline = time.monotonic() + 20
    slot = gate.acquire(deadline=deadline, host="h")
    order = fork.Queue()

    def wait(number: int) -> None:
        mine = gate.acquire(deadline=deadline, host="h")
        order.put(number)
        mine.release(remove=True)

    waiters = []
    for number in range(5):
        waiters.append(fork.Process(target=wait, args=(number,)))
        waiters[-1].start()
        processes.wait_until(lambda: len(list(tmp_path.glob("*.wait.*"))) == len(waiters), "the next in the queue")
    # who is killed does not hold up the others
    waiters[1].kill()
    slot.release(remove=True)
    assert [order.get(timeout=20) for _ in range(4)] == [0, 2, 3, 4]
    for waiter in waiters:
        waiter.join(20)
    gate.sweep()
    assert list(tmp_path.iterdir()) == []
