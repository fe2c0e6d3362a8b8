"""Two hosts that are a pool."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_sshjob.ssh.connection import close_shells
from luigi_sshjob.tasks import choosing, pool_requests

from support import processes
from support.control_master import end_masters
from support.hosts import DockerHost, Host
from support.network_proxy import Proxy, through
from support.session import SESSION
from support.settings import configure


@pytest.fixture(scope="module")
def second_host(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = DockerHost(tmp_path_factory.mktemp("second") / "host", client=pytestconfig.stash[SESSION].docker)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def information(caplog: pytest.LogCaptureFixture) -> None:
    """Luigi sets this level only when it runs tasks itself."""
    caplog.set_level(logging.INFO, "luigi-interface")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and those that it forks."""
    monkeypatch.setattr(pool_requests, "RESPONSE_TIMEOUT", 1.0)
    monkeypatch.setattr(pool_requests, "PLACED_TIMEOUT", 3.0)


@dataclasses.dataclass
class PoolHosts:
    """The hosts gpu01 and gpu02, each behind a proxy, with a folder of the same name."""

    hosts: dict[str, Host]
    proxies: dict[str, Proxy]
    folder: str
    names = ("gpu01", "gpu02")

    def ledger(self, name: str) -> list[str]:
        """The attempts that have begun on that host."""
        return self.run(name, f"cat {self.folder}/ledger 2>/dev/null || :").split()

    def begun(self) -> dict[str, list[str]]:
        """The attempts on each host that has run one, without the task."""
        found = {name: [line.rpartition("/")[2] for line in self.ledger(name)] for name in self.names}
        return {name: numbers for name, numbers in found.items() if numbers}

    def run(self, name: str, script: str) -> str:
        return self.hosts[name].run("sh", "-c", script)

    def create(self, file: str) -> None:
        """On all hosts."""
        for name in self.names:
            self.run(name, f"mkdir -p {self.folder} && touch {self.folder}/{file}")

    def wait_until_idle(self, name: str) -> None:
        """No supervisor is left, which could write its record."""
        host = self.hosts[name]
        processes.wait_until(lambda: not any("supervise.sh" in args for _, args in host.processes()), "the jobs' end")

    def lose(self, name: str) -> None:
        """That host does not respond any more."""
        close_shells()
        self.proxies[name].cut()
        self.proxies[name].silence()

    def wait_until_begun(self) -> str:
        """The host on which a job runs."""
        processes.wait_until(self.begun, "a job", 60)
        (name,) = self.begun()
        return name


@pytest.fixture
def gpus(host: Host, second_host: Host, luigi_cfg, tmp_path: Path, text_folder: str) -> Iterator[PoolHosts]:
    with _pool((host, second_host), luigi_cfg, tmp_path, text_folder) as pool:
        yield pool


@pytest.fixture
def shared(host: Host, luigi_cfg, tmp_path: Path, text_folder: str) -> Iterator[PoolHosts]:
    """A pool of one host with two names, which share its directories."""
    with _pool((host, host), luigi_cfg, tmp_path, text_folder) as pool:
        yield pool


@contextlib.contextmanager
def _pool(members: tuple[Host, Host], luigi_cfg, tmp_path: Path, folder: str) -> Iterator[PoolHosts]:
    both = dict(zip(PoolHosts.names, members, strict=True))
    proxies = {name: Proxy((each.hostname, each.port)) for name, each in both.items()}
    ssh_config = tmp_path / "ssh_config_of_the_pool"
    ssh_config.write_text("".join(through(proxies[name], each, name) for name, each in both.items()))
    configure(ssh_config=ssh_config)
    luigi_cfg.path.write_text(luigi_cfg.path.read_text().replace(str(luigi_cfg.ssh_config), str(ssh_config)))
    pool_requests._hosts.clear()
    choosing._choosers.clear()
    made = PoolHosts(both, proxies, folder)
    yield made
    for name in made.names:
        proxies[name].restore()
        # which ends the jobs
        made.run(name, f"rm -rf {folder}")
        made.wait_until_idle(name)
        made.run(name, "rm -rf .luigi-sshjob")
    # what has waited for a silent host
    processes.wait_until(lambda: not any(each._waiting for each in pool_requests._hosts.values()), "requests")
    close_shells()
    for each in both.values():
        end_masters(luigi_cfg.runtime_dir, each)
    for proxy in proxies.values():
        proxy.close()
