"""What ssh prints, or paramiko is told, as errors of ours: the one place that translates."""

from __future__ import annotations

import re

from luigi_sshjob.errors import (
    ConfigurationError,
    ConnectionLost,
    HostUnreachable,
    LoginRefused,
    SessionRefused,
    SSHJobError,
)
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
        "run `{ssh}` once by hand and compare the host key's fingerprint, so that known_hosts has it",
    ),
    (
        r"Temporary failure in name resolution|: Try again",
        HostUnreachable,
        "wait for the name service; jobs on the host go on meanwhile",
    ),
    (
        r"Could not resolve hostname",
        LoginRefused,
        "check the spelling of the host, or give it a HostName in the ssh configuration",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods|incorrect password",
        LoginRefused,
        "make `{ssh} true` work without a question: key_file, ssh-add, authorized_keys on the host",
    ),
    (
        r"Bad configuration option|bad (owner or )?permissions|extra arguments at end|bad configuration|user config",
        ConfigurationError,
        "correct the ssh configuration that ssh names",
    ),
)
_ELSE = "check that `{ssh} true` works from here; jobs on the host go on meanwhile"


# What a multiplexed client says of itself when it had no session.
_CLIENT_FAILED = re.compile(r"mux_client_request_session|Control socket connect|Connection closed by UNKNOWN")


def login_error(said: str, destination: Destination, ssh_config: str = "") -> SSHJobError:
    """The error that the words of an ssh that logs in stand for."""
    _, kind, next_step = next(
        (meaning for meaning in _MEANINGS if re.search(meaning[0], said, re.IGNORECASE)), ("", HostUnreachable, _ELSE)
    )
    lines = [line.strip() for line in said.splitlines() if line.strip(" @\r\n")]
    return kind(
        f"no connection: {'; '.join(lines[-4:]) or 'it ended without a word'}",
        host=str(destination),
        next_step=next_step.format(host=destination.host, ssh=destination.by_hand(ssh_config)),
    )


def client_failed(said: str) -> bool:
    """Whether these are words of a client that had no session, not of what it should have run."""
    return bool(_CLIENT_FAILED.search(said))


def client_error(said: str, destination: Destination) -> SSHJobError:
    """The error for a client of the master that ended before its time.

    A client cannot log in, so nothing it or its command says is about a login.
    """
    if client_failed(said) and re.search(r"refused by peer|request failed|open failed", said):
        return session_refused(destination)
    return connection_lost(said, destination)


def session_refused(destination: Destination) -> SessionRefused:
    """The error for a session that the server did not open."""
    return SessionRefused(
        "the server has no session left on the shared connection",
        host=str(destination),
        next_step="lower max_sessions in [sshjob] below the server's MaxSessions",
    )


def connection_lost(said: str, destination: Destination) -> ConnectionLost:
    """The error for a connection that ended before its time."""
    return ConnectionLost(
        f"the connection broke{': ' + said.strip() if said.strip() else ''}",
        host=str(destination),
        next_step="nothing: it is made again when it is next needed",
    )
