"""Maps the stderr of ssh, and the exceptions of paramiko, to this package's errors. No other module parses either.

Each error has a `code`, on which the retry of a login and the checks of the doctor branch.
"""

from __future__ import annotations

import re
import shlex

from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import (
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    HostUnreachable,
    LoginRefused,
    SessionRefused,
    SSHJobError,
)

# In this order: the first pattern that matches counts. The empty one matches everything.
_PATTERNS = {
    "host-key-changed": r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
    "host-key-unknown": r"Host key verification failed|No .* host key is known",
    "name-service-unavailable": r"Temporary failure in name resolution|: Try again",
    "name-unknown": r"Could not resolve hostname",
    "authentication-failed": (
        r"Permission denied|Too many authentication failures|No more authentication methods|incorrect password"
    ),
    "invalid-ssh-config": (
        r"Bad configuration option|bad (owner or )?permissions|extra arguments at end|bad configuration|user config"
        r"|: line \d+: |command-line line"
    ),
    "no-common-algorithm": r"Unable to negotiate|no matching|incompatible",
    "jump-host-failed": r"jump host does not connect",
    "not-an-ssh-server": r"banner|Bad remote protocol|invalid characters",
    "connection-dropped": r"reset by|Connection closed by (?!UNKNOWN)|kex_exchange",
    "connection-refused": r"Connection refused|Connect failed",
    "no-response": r"timed out|no route|unreachable|connect to host|port \d+: ",
    "connection-failed": "",
}
# What ssh prints when its proxy has ended. The proxy's own stderr is lost where the connection is to persist
# (sshconnect.c), so the failed step is not known.
_PROXY_ENDED = "UNKNOWN port 65535"

_UNREACHABLE = (
    HostUnreachable,
    "no connection to the host",
    "check that `{ssh} true` works from here; jobs on the host go on meanwhile",
)
# Class, fixed beginning of the message, and next step of each code; of all others: _UNREACHABLE.
_ERRORS: dict[str, tuple[type[SSHJobError], str, str]] = {
    "host-key-changed": (
        LoginRefused,
        "the host shows another key than it did before",
        "find out from its administrator why the host key changed; if that is in order, ssh-keygen -R {known_as}",
    ),
    "host-key-unknown": (
        LoginRefused,
        "the host's key is not one that is known and trusted",
        "run `{ssh}` once by hand and compare the host key's fingerprint, so that known_hosts has it",
    ),
    "name-service-unavailable": (
        HostUnreachable,
        "the name service does not answer",
        "wait for it; jobs on the host go on meanwhile",
    ),
    "name-unknown": (
        LoginRefused,
        "no machine has the name of this host",
        "check the spelling of the host, or give it a HostName in the ssh configuration",
    ),
    "authentication-failed": (
        LoginRefused,
        "the host does not let us in",
        "make `{ssh} true` work without a question: key_file, ssh-add, authorized_keys on the host",
    ),
    "invalid-ssh-config": (
        ConfigurationError,
        "the ssh configuration cannot be used",
        "correct what ssh names: a line of the ssh configuration, its permissions, ssh_config in [sshjob]",
    ),
}

# The name in known_hosts, which is not the alias, and has the port where that is not 22.
_KNOWN_AS = re.compile(r"host key for (\S+) has changed", re.IGNORECASE)
# Printed by a multiplexed client that got no session.
_CLIENT_FAILED = re.compile(r"mux_client_request_session|Control socket connect|Connection closed by UNKNOWN")


def login_error_code(stderr: str) -> str:
    """Classify the stderr of a login."""
    return next(code for code, pattern in _PATTERNS.items() if re.search(pattern, stderr, re.IGNORECASE))


def login_error(stderr: str, destination: Destination, ssh_config: str = "") -> SSHJobError:
    """The error for the stderr of a failed login."""
    code = login_error_code(stderr)
    kind, problem, next_step = _ERRORS.get(code, _UNREACHABLE)
    known = _KNOWN_AS.search(stderr)
    lines = [line.strip() for line in stderr.splitlines() if line.strip(" @\r\n")]
    return kind(
        f"{problem}: {'; '.join(lines[-4:]) or 'ssh ended without a word'}",
        host=str(destination),
        doing="logging in",
        next_step=next_step.format(
            known_as=shlex.quote(known[1] if known else destination.host), ssh=destination.by_hand(ssh_config)
        ),
        code="proxy-failed" if _PROXY_ENDED in stderr else code,
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
        code="session-refused",
    )


def connection_lost(said: str, destination: Destination) -> ConnectionLost:
    """The error for a connection that ended before its time."""
    return ConnectionLost(
        f"the connection broke{': ' + said.strip() if said.strip() else ''}",
        host=str(destination),
        next_step="do it again, the connection is made anew by itself; a command may have been run all the same",
        code="connection-lost",
    )


def response_timeout(destination: Destination) -> ConnectionLost:
    """The error for an answer that did not come in time."""
    return ConnectionLost(
        "the host did not answer in time",
        host=str(destination),
        next_step="wait; if the host is only slow, raise request_timeout in [sshjob]",
        code="timeout",
    )


def key_file_missing(destination: Destination) -> ConfigurationError:
    """The error for a key that is not where it is said to be."""
    return ConfigurationError(
        f"there is no key file {destination.key_file}",
        host=str(destination),
        next_step="correct key_file in ssh_options",
        code="key-file-missing",
    )


def tunnel_failed(way: str, said: str, destination: Destination) -> ConnectionFailed:
    """The error for a port that does not lead where it should."""
    return ConnectionFailed(
        f"the tunnel cannot be made: {said}",
        host=str(destination),
        doing=f"opening the tunnel {way}",
        next_step="check that the local port is free and that the server allows forwarding",
        code="tunnel-failed",
    )


def program_missing(name: str, host: str) -> ConfigurationError:
    """The error for a program that this machine should have."""
    return ConfigurationError(
        f"there is no such program on this machine: {name}",
        host=host,
        next_step=f"install it (Debian: apt-get install {'openssh-client' if name == 'ssh' else name})",
        code="program-missing",
    )
