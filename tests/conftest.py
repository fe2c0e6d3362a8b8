"""Fixtures: one SSH host per run, one Luigi configuration per test, and a check for leaks."""

from __future__ import annotations

import contextlib
import hashlib
import logging
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
from luigi_sshjob.tasks import retries

from support import processes
from support.control_master import end_masters
from support.error_recorder import ErrorRecorder
from support.exclusive import turn
from support.far_side import SHELLS, FarSide
from support.hosts import DockerHost, Host, free_port
from support.images import CHOSEN, HERE, MACHINES
from support.jobs import Bench, cancel_running
from support.luigi_command import Luigi
from support.network_proxy import Proxy, through
from support.session import SESSION, Session
from support.settings import configure


def pytest_configure(config: pytest.Config) -> None:
    # a slow machine must not fail an example
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    # a background job of a shell ignores SIGINT, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(ErrorRecorder())
    session = config.stash[SESSION] = Session()
    if session.docker is None and CHOSEN != HERE and os.environ.get("CI") == "true":
        session.clear()
        raise pytest.UsageError(f"CI must test against Docker, but {session.choice.partition(': ')[2]}")


def pytest_report_header(config: pytest.Config) -> str:
    return f"SSH host: {config.stash[SESSION].choice}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the folder of the lock for exclusive tests to a worker of pytest-xdist."""
    node.workerinput["turns"] = str(node.config.stash[SESSION].root)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    worker = getattr(item.config, "workerinput", None)
    if worker is None:
        return (yield)
    # before the timeout of the test starts
    with turn(Path(worker["turns"]), alone=bool(item.get_closest_marker("alone"))):
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # at the end, so that the other workers do not wait for exclusive tests
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)
    no_docker = config.stash[SESSION].docker is None
    lacks = MACHINES[CHOSEN].lacks
    for item in items:
        if no_docker and item.get_closest_marker("needs_docker"):
            item.add_marker(pytest.mark.skip(reason="needs a container, and no Docker engine responds"))
        for missing in lacks & {what for marker in item.iter_markers("needs") for what in marker.args}:
            item.add_marker(pytest.mark.skip(reason=f"{CHOSEN} has no {missing}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """Show what runs on the host when a test fails: it may be what another test has left there."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and isinstance(host, DockerHost):
        # its container may not be running, and the failure is what matters
        with contextlib.suppress(Exception):
            listed = "\n".join(f"{pid} {args}" for pid, args in host.processes())
            report.sections.append(("processes on the host", listed))
    return report


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
    """Add the leaks that an ended worker of pytest-xdist reports."""
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
    """The SSH host of this run: a container, or an sshd on this machine without a Docker engine."""
    host = pytestconfig.stash[SESSION].make_host()
    host.start()
    yield host
    if host.kind == "docker":
        # the last jobs may still be ending
        processes.wait_for(lambda: not host.processes(), 20)
        pytestconfig.stash[SESSION].leaks += [f"process on the host: {args}" for _, args in host.processes()]
    host.stop()


@pytest.fixture(autouse=True, scope="session")
def watched_folder(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> None:
    """Report processes that still use a tmp_path after the session as leaks."""
    pytestconfig.stash[SESSION].folders.append(tmp_path_factory.getbasetemp())


@dataclass(frozen=True)
class LuigiConfiguration:
    path: Path
    runtime_dir: Path
    ssh_config: Path


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """Name of the transport; see `settings.both_transports`."""
    return getattr(request, "param", "local" if CHOSEN == HERE else "auto")


@pytest.fixture
def luigi_cfg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host, transport: str, pytestconfig: pytest.Config
) -> Iterator[LuigiConfiguration]:
    """A Luigi configuration for this process and its children, with its own runtime directory.

    The ControlMasters in that directory end with the test.
    """
    # not in tmp_path, which is too long for a socket
    runtime_dir = Path(tempfile.mkdtemp(prefix="r-", dir=pytestconfig.stash[SESSION].root))
    path = tmp_path / "luigi.cfg"
    path.write_text(f"[sshjob]\nssh_config={host.ssh_config}\nruntime_dir={runtime_dir}\ntransport={transport}\n")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(path))
    if host.kind == "local":
        monkeypatch.setenv("HOME", host.home)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    # Luigi reads that variable only on import, and reload() only adds to its single parser
    parser = luigi.configuration.LuigiConfigParser
    monkeypatch.setattr(parser, "_config_paths", [str(path)])
    monkeypatch.setattr(parser, "_instance", None)
    luigi.task_register.Register.clear_instance_cache()
    yield LuigiConfiguration(path, runtime_dir, host.ssh_config)
    luigi.task_register.Register.clear_instance_cache()
    close_shells()
    end_masters(runtime_dir, host)
    shutil.rmtree(runtime_dir)


@pytest.fixture(autouse=True)
def luigi_log_handlers() -> Iterator[None]:
    """Remove those that Luigi adds: they write to the standard error of a test, which is closed at its end."""
    logger = logging.getLogger("luigi-interface")
    before = logger.handlers[:]
    yield
    logger.handlers[:] = before


@pytest.fixture
def context(host: Host, luigi_cfg: LuigiConfiguration) -> RemoteContext:
    return RemoteContext(host.alias)


@pytest.fixture
def files(host: Host, luigi_cfg: LuigiConfiguration) -> RemoteFileSystem:
    return RemoteFileSystem(host.alias)


@pytest.fixture
def folder(host: Host, luigi_cfg: LuigiConfiguration) -> Iterator[str]:
    """A new directory on the host."""
    path = host.run("mktemp", "-d").strip()
    yield path
    host.run("rm", "-rf", path)


@pytest.fixture
def proxy(host: Host, luigi_cfg: LuigiConfiguration, tmp_path: Path) -> Iterator[Proxy]:
    """A TCP proxy for all connections to the host."""
    if host.kind == "local":
        pytest.skip("there is no network in between")
    proxy = Proxy((host.hostname, host.port))
    ssh_config = tmp_path / "ssh_config_of_the_proxy"
    ssh_config.write_text(through(proxy, host))
    configure(ssh_config=ssh_config)
    yield proxy
    proxy.restore()
    proxy.close()


@pytest.fixture
def bench(host: Host, luigi_cfg: LuigiConfiguration, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Jobs on the host of this run, in a directory for this test."""
    made = Bench(host, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8])
    yield made
    cancel_running(made.listing, made.monitor)
    host.run("rm", "-rf", made.folder, made.go)


@pytest.fixture
def special_bench(
    luigi_cfg: LuigiConfiguration, pytestconfig: pytest.Config, tmp_path: Path
) -> Iterator[Callable[..., Bench]]:
    """Returns a function that starts another container, with options, for jobs."""
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
    """A directory on the host with a text of three words."""
    path = host.run("mktemp", "-d").strip()
    host.run("sh", "-c", f"echo three small words >{path}/text")
    yield path
    host.run("rm", "-rf", path, ".luigi-sshjob")


@pytest.fixture(params=["a process for each", "no process"])
def remote_jobs(request: pytest.FixtureRequest) -> int | None:
    """Number of jobs that the worker runs without a process; None for Luigi's worker."""
    return None if request.param == "a process for each" else 40


@pytest.fixture
def start_luigi(
    luigi_cfg: LuigiConfiguration, tmp_path: Path, remote_jobs: int | None
) -> Iterator[Callable[..., Luigi]]:
    """Returns a function that starts `luigi`, or `luigi-sshjob run` with `remote_jobs`."""
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
    """`luigi.build`, or `luigi_sshjob.build` with `remote_jobs`, with a local scheduler."""

    def build(*tasks: luigi.Task, **options: object) -> Any:
        if remote_jobs is None:
            return luigi.build(tasks, local_scheduler=True, **options)
        return luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=remote_jobs, **options)

    return build


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before retries of a moment, in place of ten seconds."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.2)


@pytest.fixture
def luigid(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """Port of a luigid for this test, which runs the code in an indirect parameter before it starts."""
    first = getattr(request, "param", "pass")
    port = free_port()
    arguments = ["--address", "127.0.0.1", "--port", str(port), "--state-path", str(tmp_path / "state")]
    with (tmp_path / "luigid.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{first}; from luigi.cmdline import luigid; luigid()", *arguments],
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
        # with busybox's grep, wc, setsid, …: they differ more than the shells do
        host.run("sh", "-c", f"mkdir {folder}/bin && busybox --install -s {folder}/bin")
        argv = ["env", f"PATH={folder}/bin", f"{folder}/bin/sh"]
    yield FarSide(host, argv, folder)
    host.run("rm", "-rf", folder)
