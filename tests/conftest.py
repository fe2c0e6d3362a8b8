"""One SSH host for the whole run, a Luigi configuration for each test, and a check that nothing is left."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import luigi
import luigi.configuration
import luigi.task_register
import pytest

import luigi_sshjob
from luigi_sshjob import RemoteContext, RemoteFileSystem
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.control_master import end_masters
from support.error_recorder import ErrorRecorder
from support.exclusive import turn
from support.far_side import SHELLS, FarSide
from support.hosts import DockerHost, Host
from support.images import CHOSEN, MACHINES
from support.jobs import Bench
from support.luigi_command import Luigi
from support.network_proxy import Proxy, through
from support.session import SESSION, Session
from support.settings import configure


def pytest_configure(config: pytest.Config) -> None:
    # a slow machine fails no example
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    # a shell's background job ignores Ctrl-C, and so would all that the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(ErrorRecorder())
    session = config.stash[SESSION] = Session()
    if session.docker is None and os.environ.get("CI") == "true":
        session.clear()
        raise pytest.UsageError(f"CI must test against Docker, but {session.choice.partition(': ')[2]}")


def pytest_report_header(config: pytest.Config) -> str:
    return f"SSH host: {config.stash[SESSION].choice}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of pytest-xdist is told where its tests take their turns."""
    node.workerinput["turns"] = str(node.config.stash[SESSION].root)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    worker = getattr(item.config, "workerinput", None)
    if worker is None:
        return (yield)
    # before any time limit begins to run
    with turn(Path(worker["turns"]), alone=bool(item.get_closest_marker("alone"))):
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # while one runs alone the other workers have nothing to do: at the end there is nothing else to be done
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)
    no_docker = config.stash[SESSION].docker is None
    lacks = MACHINES[CHOSEN].lacks
    for item in items:
        if no_docker and item.get_closest_marker("needs_docker"):
            item.add_marker(pytest.mark.skip(reason="needs a container, and no Docker engine answers"))
        for missing in lacks & {what for marker in item.iter_markers("needs") for what in marker.args}:
            item.add_marker(pytest.mark.skip(reason=f"{CHOSEN} has no {missing}"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    own = session.config.stash[SESSION]
    own.clear()
    if own.leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["leaks"] = own.leaks


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended, and said what its tests left behind."""
    leaks = getattr(node, "workeroutput", {}).get("leaks", [])
    node.config.stash[SESSION].leaks += [f"{node.gateway.id}: {leak}" for leak in leaks]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = config.stash[SESSION]
    if session.leaks:
        terminalreporter.section("left behind by the tests", red=True, bold=True)
        for leak in session.leaks:
            terminalreporter.line(leak)
    terminalreporter.line(f"SSH host used: {session.choice}")
    if session.docker is None:
        skipped = terminalreporter.stats.get("skipped", [])
        count = sum("needs_docker" in report.keywords for report in skipped)
        terminalreporter.line(f"Left out: {count} tests that need a container (needs_docker)")


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Iterator[Host]:
    """The SSH host of this run: a container where a Docker engine answers, else an sshd on this machine."""
    host = pytestconfig.stash[SESSION].make_host()
    host.start()
    yield host
    host.stop()


@pytest.fixture(autouse=True, scope="session")
def watched_folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> None:
    """A process that still works in a test's tmp_path after the session is a leak, too."""
    pytestconfig.stash[SESSION].folders.append(tmp_path_factory.getbasetemp())


@dataclass(frozen=True)
class LuigiConfiguration:
    path: Path
    runtime_dir: Path
    ssh_config: Path


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """How hosts are reached; see `settings.both_transports`."""
    return getattr(request, "param", "openssh")


@pytest.fixture
def luigi_cfg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host, transport: str, pytestconfig: pytest.Config
) -> Iterator[LuigiConfiguration]:
    """A Luigi configuration, here and for child processes, whose [sshjob] leads to `host` and to a runtime
    directory of its own. The ControlMasters in it are ended with the test."""
    # Not in tmp_path, which is too long for a socket. mkdtemp makes it 0700.
    runtime_dir = Path(tempfile.mkdtemp(prefix="r-", dir=pytestconfig.stash[SESSION].root))
    path = tmp_path / "luigi.cfg"
    path.write_text(f"[sshjob]\nssh_config={host.ssh_config}\nruntime_dir={runtime_dir}\ntransport={transport}\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    # Luigi reads that variable only when it is imported, and reload() only adds to its one parser.
    parser = luigi.configuration.LuigiConfigParser
    monkeypatch.setattr(parser, "_config_paths", [str(path)])
    monkeypatch.setattr(parser, "_instance", None)
    luigi.task_register.Register.clear_instance_cache()
    yield LuigiConfiguration(path, runtime_dir, host.ssh_config)
    luigi.task_register.Register.clear_instance_cache()
    close_shells()
    end_masters(runtime_dir, host)
    shutil.rmtree(runtime_dir)


@pytest.fixture
def context(host: Host, luigi_cfg: LuigiConfiguration) -> RemoteContext:
    """Of the host of this run."""
    return RemoteContext(host.alias)


@pytest.fixture
def files(host: Host, luigi_cfg: LuigiConfiguration) -> RemoteFileSystem:
    """Those of the host of this run."""
    return RemoteFileSystem(host.alias)


@pytest.fixture
def folder(host: Host, luigi_cfg: LuigiConfiguration) -> Iterator[str]:
    """A new folder on the host."""
    path = host.run("mktemp", "-d").strip()
    yield path
    host.run("rm", "-rf", path)


@pytest.fixture
def proxy(host: Host, luigi_cfg: LuigiConfiguration, tmp_path: Path) -> Iterator[Proxy]:
    """All connections to the host go through it."""
    wire = Proxy((host.hostname, host.port))
    ssh_config = tmp_path / "ssh_config_of_the_wire"
    ssh_config.write_text(through(wire, host.ssh_config, host.port))
    configure(ssh_config=ssh_config)
    yield wire
    wire.restore()
    wire.close()


@pytest.fixture
def bench(host: Host, luigi_cfg: LuigiConfiguration, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Jobs on the host of this run, in a directory of the test's own."""
    made = Bench(host, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8])
    yield made
    for each in made.survey.attempts():
        if not each.state.final:
            made.monitor.cancel(each.job, grace=0)
    host.run("rm", "-rf", made.folder, made.go)


@pytest.fixture
def special_bench(
    luigi_cfg: LuigiConfiguration, pytestconfig: pytest.Config, tmp_path: Path
) -> Iterator[Callable[..., Bench]]:
    """Makes jobs on a container of the test's own, with options of its own."""
    client = pytestconfig.stash[SESSION].docker
    hosts: list[DockerHost] = []

    def make(**options: object) -> Bench:
        hosts.append(DockerHost(tmp_path / f"host{len(hosts)}", client=client, **options))
        hosts[-1].start()
        configure(ssh_config=hosts[-1].ssh_config)
        return Bench(hosts[-1], "special")

    yield make
    close_shells()
    for host in hosts:
        end_masters(luigi_cfg.runtime_dir, host)
        host.stop()


@pytest.fixture
def text_folder(host: Host, luigi_cfg: LuigiConfiguration) -> Iterator[str]:
    """A folder on the host, with a text of three words."""
    path = host.run("mktemp", "-d").strip()
    host.run("sh", "-c", f"echo three small words >{path}/text")
    yield path
    host.run("rm", "-rf", path, ".luigi-sshjob")


@pytest.fixture(params=["a process for each", "no process"])
def remote_jobs(request: pytest.FixtureRequest) -> int | None:
    """For how many jobs there is room in the worker itself; None for Luigi's own worker."""
    return None if request.param == "a process for each" else 40


@pytest.fixture
def start_luigi(
    luigi_cfg: LuigiConfiguration, tmp_path: Path, remote_jobs: int | None
) -> Iterator[Callable[..., Luigi]]:
    """Starts the `luigi` command, or ours that holds the jobs; its log is `.log` of what is returned."""
    started = []

    def start(*arguments: str) -> Luigi:
        log = tmp_path / f"luigi-{len(started)}.log"
        started.append(Luigi(log, *arguments, "--retcode-task-failed", "30", remote_jobs=remote_jobs))
        return started[-1]

    yield start
    for process in started:
        process.kill_all()


@pytest.fixture
def build(remote_jobs: int | None) -> Callable[..., Any]:
    """`luigi.build`, or ours, with a scheduler in this process."""

    def build(*tasks: luigi.Task, **options: object) -> Any:
        if remote_jobs is None:
            return luigi.build(tasks, local_scheduler=True, **options)
        return luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=remote_jobs, **options)

    return build


@pytest.fixture
def luigid(tmp_path: Path) -> Iterator[int]:
    """The port of a scheduler of this test's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--address", "127.0.0.1", "--port", str(port), "--state-path", str(tmp_path / "state")]
    with (tmp_path / "luigid.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from luigi.cmdline import luigid; luigid()", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    processes.wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "luigid")
    yield port
    process.terminate()
    process.wait(30)


@pytest.fixture(params=SHELLS)
def far_side(request, host):
    argv = SHELLS[request.param]
    if not host.run("sh", "-c", f"command -v {argv[0]} || true"):
        pytest.skip(f"there is no {argv[0]} on this host")
    folder = host.run("mktemp", "-d").strip()
    if request.param == "busybox":
        # its own grep, wc, setsid, … too: they differ more than the shells do
        host.run("sh", "-c", f"mkdir {folder}/bin && busybox --install -s {folder}/bin")
        argv = ["env", f"PATH={folder}/bin", f"{folder}/bin/sh"]
    yield FarSide(host, argv, folder)
    host.run("rm", "-rf", folder)
