"""What ssh prints, as errors of ours: the one place that translates."""

from __future__ import annotations

import re

from luigi_sshjob.errors import ConfigurationError, HostUnreachable, LoginRefused, SessionRefused, SSHJobError
from luigi_sshjob.ssh.destination import Destination

# What ssh says -> what it means. The first that matches counts.
_MEANINGS: tuple[tuple[str, type[SSHJobError], str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        LoginRefused,
        "find out from its administrator why the host key changed; if that is in order, ssh-keygen -R {host}",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        LoginRefused,
        "run `ssh {reference}` once by hand and compare the host key's fingerprint, so that known_hosts has it",
    ),
    (
        r"Temporary failure in name resolution|Try again",
        HostUnreachable,
        "wait for the name service; jobs on the host go on meanwhile",
    ),
    (
        r"Could not resolve hostname",
        LoginRefused,
        "check the spelling of the host, or give it a HostName in ~/.ssh/config",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods|incorrect password",
        LoginRefused,
        "make `ssh {reference} true` work without a question: key_file, ssh-add, authorized_keys on the host",
    ),
    (
        r"Bad configuration option|bad permissions|extra arguments at end|terminating, \d+ bad|Can't open user config",
        ConfigurationError,
        "correct the ssh configuration that ssh names",
    ),
    (
        r"Session open refused by peer|session request failed|open failed",
        SessionRefused,
        "lower max_sessions in [sshjob] below the server's MaxSessions",
    ),
)
_ELSE = "check that `ssh {reference} true` works from here; jobs on the host go on meanwhile"


def translate(said: str, destination: Destination) -> SSHJobError:
    """The error that ssh's words stand for."""
    _, kind, next_step = next(
        (meaning for meaning in _MEANINGS if re.search(meaning[0], said, re.IGNORECASE)), ("", HostUnreachable, _ELSE)
    )
    lines = [line.strip() for line in said.splitlines() if line.strip(" @\r\n")]
    told = "; ".join(lines[-4:]) or "ssh ended without a word"
    return kind(
        f"no connection: {told}",
        host=str(destination),
        next_step=next_step.format(host=destination.host, reference=destination.reference),
    )
