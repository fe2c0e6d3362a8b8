"""Settings of [sshjob] for one test."""

from __future__ import annotations

import luigi.configuration
import pytest

# For a test that promises the same by each.
both_transports = pytest.mark.parametrize("transport", ["openssh", "paramiko"], indirect=True)


def configure(**values: object) -> None:
    """Until the end of the test: `luigi_cfg` makes a new parser for each."""
    for name, value in values.items():
        luigi.configuration.get_config().set("sshjob", name, str(value))
