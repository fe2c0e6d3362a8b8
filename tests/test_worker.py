"""The worker that holds remote jobs without a process each."""

from __future__ import annotations

import pytest
from pipeline import Sum

import luigi_sshjob


@pytest.fixture
def folder(host, luigi_cfg):
    path = host.run("mktemp", "-d").strip()
    host.run("sh", "-c", f"echo three small words >{path}/text")
    yield path
    host.run("rm", "-rf", path, ".luigi-sshjob")


def test_twenty_jobs_need_no_process(host, folder):
    before = host.accepted_logins()
    task = Sum(host=host.alias, folder=folder, count=20)
    assert luigi_sshjob.build([task], local_scheduler=True, workers=1, remote_jobs=30)
    assert host.run("cat", f"{folder}/sum") == "60\n"
    assert host.accepted_logins() == before + 1
