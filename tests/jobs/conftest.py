"""Fixtures of the tests that inject faults into jobs."""

from __future__ import annotations

import pytest

from support.fault_injection import Shim


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
