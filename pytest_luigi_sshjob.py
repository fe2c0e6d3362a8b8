"""Fixtures for tests of tasks, see docs/testing.rst.

Outside the package, because pytest imports this module in every run of its environment, and the package imports Luigi.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from luigi_sshjob.testing import Recorder, ThrowawayHost


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option for the transport of `sshjob_host`."""
    parser.getgroup("luigi_sshjob").addoption(
        "--sshjob-transport",
        choices=("openssh", "local"),
        default="openssh",
        help="how the fixture sshjob_host is reached: a throwaway sshd, or this machine without ssh (local)",
    )


@pytest.fixture
def sshjob_host(request: pytest.FixtureRequest) -> Iterator[ThrowawayHost]:
    """A host for this test on this machine, see `luigi_sshjob.testing.throwaway_host`.

    The parameter of an indirect parametrization is its transport. The test is skipped if this machine has no sshd.
    """
    from luigi_sshjob.testing.host import throwaway_host, why_unavailable  # noqa: PLC0415  # imports Luigi

    transport = getattr(request, "param", request.config.getoption("--sshjob-transport"))
    if reason := why_unavailable(transport):
        pytest.skip(reason)
    with throwaway_host(transport) as host:
        yield host


@pytest.fixture
def sshjob_recorder() -> Iterator[Recorder]:
    """Records the jobs of this test instead of submitting them, see `luigi_sshjob.testing.record_jobs`."""
    from luigi_sshjob.testing.recorder import record_jobs  # noqa: PLC0415  # imports Luigi

    with record_jobs() as recorder:
        yield recorder
