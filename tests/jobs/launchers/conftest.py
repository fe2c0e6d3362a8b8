"""Fixtures of a Slurm cluster."""

from __future__ import annotations

import hashlib

import pytest

from luigi_sshjob.ssh.connection import close_shells

from support.control_master import end_masters
from support.session import SESSION
from support.settings import configure
from support.slurm_cluster import Cluster
from support.slurm_jobs import SlurmBench


@pytest.fixture(scope="package")
def cluster(pytestconfig, tmp_path_factory):
    session = pytestconfig.stash[SESSION]
    made = Cluster(session.root / "slurm", client=session.docker)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def slurm(cluster, luigi_cfg, request):
    configure(ssh_config=cluster.ssh_config)
    cluster.forget_calls()
    bench = SlurmBench(cluster, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8])
    yield bench
    close_shells()
    cluster.slurm("scancel", "--user=job")
    cluster.run("rm", "-rf", bench.folder, bench.go)
    end_masters(luigi_cfg.runtime_dir, cluster)
