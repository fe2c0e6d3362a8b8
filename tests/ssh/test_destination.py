"""Host names and ssh options are validated before ssh sees them."""

from __future__ import annotations

import pytest

from luigi_sshjob import RemoteContext
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError


@pytest.mark.parametrize(
    "host", ["box", "box:22", "ann@box:22", "fe80::1", "ann@fe80::1", "[fe80::1]:22", "ann@[::1]:22"]
)
def test_a_destination_parses_its_own_text(host):
    assert str(Destination.parse(host, {})) == host
    assert Destination.parse(str(Destination.parse(host, {})), {}) == Destination.parse(host, {})


def test_contexts_with_the_same_destination_are_equal():
    assert RemoteContext("box", port=2222) == RemoteContext("box", port="2222") == RemoteContext("box:2222")
    assert RemoteContext("job@box") == RemoteContext("box", username="job")
    assert RemoteContext("box") != RemoteContext("box", no_host_key_check=True)
    assert hash(RemoteContext("box", port=1)) == hash(RemoteContext("box", port="1"))


@pytest.mark.parametrize("name", ["", "-oProxyCommand=true", "user@-oX", "two words", "a\0b", "line\nbreak"])
def test_unsafe_host_names_are_refused(name):
    with pytest.raises(ConfigurationError, match="invalid host name"):
        RemoteContext(name)


@pytest.mark.parametrize("options", [{"prot": 22}, {"port": "ssh"}, {"port": 70000}, {"username": "-l"}])
def test_invalid_ssh_options_are_refused(options):
    with pytest.raises(ConfigurationError, match="Next: "):
        RemoteContext("box", **options)
