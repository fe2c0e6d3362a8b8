"""Fixtures of schedulers. Each starts once in a run."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest

from luigi_sshjob.ssh.connection import close_shells

from support.control_master import end_masters
from support.engines import ENGINES
from support.htcondor_pool import Pool
from support.scheduled_jobs import ScheduledBench
from support.session import SESSION
from support.settings import configure
from support.sge_cluster import Cluster as GridEngineCluster
from support.slurm_cluster import Cluster

HERE = Path(__file__).parent

CLUSTERS = {"slurm": Cluster, "sge": GridEngineCluster, "htcondor": Pool}


def pytest_collection_modifyitems(items):
    """The first test with an engine also builds its image."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(600))


def _cluster(pytestconfig, launcher, **options):
    session = pytestconfig.stash[SESSION]
    folder = session.root / "-".join([launcher, *options])
    made = CLUSTERS[launcher](folder, client=session.docker, **options)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="package")
def cluster(pytestconfig):
    yield from _cluster(pytestconfig, "slurm")


@pytest.fixture(scope="package")
def accounting_cluster(pytestconfig):
    """Another version of Slurm, with an accounting."""
    yield from _cluster(pytestconfig, "slurm", accounting=True)


@pytest.fixture(scope="package")
def sge_cluster(pytestconfig):
    yield from _cluster(pytestconfig, "sge")


@pytest.fixture(scope="package")
def pool(pytestconfig):
    yield from _cluster(pytestconfig, "htcondor")


@contextlib.contextmanager
def _bench(host, engine, luigi_cfg, request):
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    configure(ssh_config=host.ssh_config, scheduler_interval=1)
    bench = ScheduledBench(host, name, engine)
    if engine:
        host.forget_calls()
    yield bench
    bench.close()
    try:
        if engine:
            bench.empty_queue()
    finally:
        close_shells()
        host.run("rm", "-rf", bench.folder, bench.go)
        end_masters(luigi_cfg.runtime_dir, host)


@pytest.fixture
def slurm(cluster, luigi_cfg, request):
    with _bench(cluster, ENGINES["slurm"], luigi_cfg, request) as bench:
        yield bench


HOSTS = {"nohup": "host", "slurm": "accounting_cluster", "sge": "sge_cluster", "htcondor": "pool"}


def _each(names):
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


def _bench_of(request, luigi_cfg):
    host = request.getfixturevalue(HOSTS[request.param])
    return _bench(host, ENGINES.get(request.param), luigi_cfg, request)


@pytest.fixture(params=_each(HOSTS))
def bench(request, luigi_cfg):
    """Each launcher on its real engine."""
    with _bench_of(request, luigi_cfg) as made:
        yield made


@pytest.fixture(params=_each(ENGINES))
def scheduled(request, luigi_cfg):
    """The same without nohup, which has no queue and no commands of a scheduler."""
    with _bench_of(request, luigi_cfg) as made:
        yield made
