"""Names of hosts."""

from __future__ import annotations

import pytest

from luigi_sshjob.destination import Destination


@pytest.mark.parametrize(
    "host", ["box", "box:22", "ann@box:22", "fe80::1", "ann@fe80::1", "[fe80::1]:22", "ann@[::1]:22"]
)
def test_a_destination_that_was_written_down_is_the_same(host):
    assert str(Destination.parse(host, {})) == host
    assert Destination.parse(str(Destination.parse(host, {})), {}) == Destination.parse(host, {})
