"""Requests and responses of the remote shell, without a host."""

from __future__ import annotations

import re

from luigi_sshjob.ssh.shell.remote_shell import ShellProtocol


def marked(*lines: str, status: int) -> list[tuple[str, str]]:
    """The kinds and contents of the parts of a response with these marked lines."""
    protocol = ShellProtocol()
    token = re.search(rb"SJ_TOKEN=(\w+)", protocol.opening())[1].decode()
    text = "".join(f"\n{token} {line}\n" for line in [*lines, f"end 0 {status}"])
    (response,) = protocol.feed(text.encode())
    return [(part.kind, part.content.decode().strip()) for part in response.parts]


def test_a_verb_that_recovers_from_a_refused_step_has_not_refused():
    parts = ("part refused 0 directory-not-writable\nthe disk is full", "part found 3 \n/jobs/Task/3")
    assert marked(*parts, status=0) == [("found", "/jobs/Task/3")]
    assert marked(*parts, status=1)[0] == ("refused", "the disk is full")
