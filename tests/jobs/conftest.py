"""Fixtures of the tests of jobs: faults, and a clock."""

from __future__ import annotations

import pytest

from support.clock import Clock
from support.fault_injection import Shim


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def shim(host):
    made = Shim(host)
    yield made
    made.remove()


@pytest.fixture
def ledger(host):
    """A file outside of all job directories; commands append a line to it."""
    path = f"{host.home}/ledger"
    yield path
    host.run("rm", "-f", path)
