"""Whatever a host sends within its session becomes a response or an error of this package."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_sshjob import errors
from luigi_sshjob.ssh.shell.remote_shell import ShellProtocol

_LINES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"end 0 0", b"end 1 0", b"end 0 x", b"end 0 " + b"9" * 5000, b"end 0 ", b"part", b"end"]),
        st.sampled_from([b"part a 0 v", b"part a 99999999999999999999 ", b"part \xff 0 \xff", b"part refused 0 c"]),
        st.just(b"part a " + b"9" * 5000 + b" v"),
    ),
    max_size=8,
)


@given(_LINES, st.lists(st.booleans(), min_size=8, max_size=8), st.integers(1, 50))
def test_whatever_a_host_sends_is_a_response_or_an_error(lines, marked, size):
    """Random lines, with the token and without, in pieces of any size."""
    protocol = ShellProtocol("box")
    token = re.search(rb"SJ_TOKEN=(\w+)", protocol.opening())[1]
    sent = b"".join(b"\n" + token * mark + b" " * mark + line for line, mark in zip(lines, marked, strict=False))
    with contextlib.suppress(errors.InvalidResponse):
        for begin in range(0, len(sent), size):
            list(protocol.feed(sent[begin : begin + size]))
    with pytest.raises(errors.InvalidResponse, match="the host sent an invalid response to a request") as caught:
        list(ShellProtocol.feed(protocol := ShellProtocol("box"), _end(protocol, b"x")))
    assert caught.value.host == "box"


def test_a_response_has_a_largest_size():
    protocol = ShellProtocol("box")
    for _ in range(64):
        list(protocol.feed(bytes(1 << 20)))
    with pytest.raises(errors.InvalidResponse) as caught:
        list(protocol.feed(b"x"))
    assert caught.value.code == "response-too-large"


def _end(protocol, status):
    return b"\n%s end 0 %s\n" % (re.search(rb"SJ_TOKEN=(\w+)", protocol.opening())[1], status)
