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
    "cannot connect to the host",
    "check that `{ssh} true` works on this machine; jobs on the host keep running",
)
# Class, fixed beginning of the message, and next step of each code; of all others: _UNREACHABLE.
_ERRORS: dict[str, tuple[type[SSHJobError], str, str]] = {
    "host-key-changed": (
        LoginRefused,
        "the host key has changed",
        "ask the host's administrator whether the change is legitimate; only then run ssh-keygen -R {known_as}",
    ),
    "host-key-unknown": (
        LoginRefused,
        "host key verification failed",
        "run `{ssh}` once by hand, compare the host key's fingerprint, and accept the key into known_hosts",
    ),
    "name-service-unavailable": (
        HostUnreachable,
        "temporary failure in name resolution",
        "wait until names are resolved again; jobs on the host keep running",
    ),
    "name-unknown": (
        LoginRefused,
        "cannot resolve the host name",
        "check the spelling of the host, or set its HostName in the ssh configuration",
    ),
    "authentication-failed": (
        LoginRefused,
        "ssh authentication failed",
        "make `{ssh} true` work without any prompt: key_file, ssh-add, authorized_keys on the host",
    ),
    "invalid-ssh-config": (
        ConfigurationError,
        "invalid ssh configuration",
        "fix what ssh reports: a line of the ssh configuration, its permissions, ssh_config in [sshjob]",
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
        f"{problem}: {'; '.join(lines[-4:]) or 'ssh printed no message'}",
        host=str(destination),
        doing="logging in",
        next_step=next_step.format(
            known_as=shlex.quote(known[1] if known else destination.host), ssh=destination.by_hand(ssh_config)
        ),
        code="proxy-failed" if _PROXY_ENDED in stderr else code,
    )


def client_failed(stderr: str) -> bool:
    """Whether a multiplexed client wrote this because it got no session; its command did not run."""
    return bool(_CLIENT_FAILED.search(stderr))


def client_error(stderr: str, destination: Destination) -> SSHJobError:
    """The error for a multiplexed client that ended too early.

    A client cannot log in, so neither its own messages nor those of its command are about a login.
    """
    if client_failed(stderr) and re.search(r"refused by peer|request failed|open failed", stderr):
        return session_refused(destination)
    return connection_lost(stderr, destination)


def session_refused(destination: Destination) -> SessionRefused:
    """The error for a session that the server did not open."""
    return SessionRefused(
        "the server refused another session on the connection",
        host=str(destination),
        next_step="set max_sessions in [sshjob] below the server's MaxSessions",
        code="session-refused",
    )


def connection_lost(stderr: str, destination: Destination) -> ConnectionLost:
    """The error for a connection that ended too early."""
    return ConnectionLost(
        f"the connection was lost{': ' + stderr.strip() if stderr.strip() else ''}",
        host=str(destination),
        next_step="try again, which reconnects automatically; a command that was sent may have run",
        code="connection-lost",
    )


def response_timeout(destination: Destination) -> ConnectionLost:
    """The error for a response that did not arrive in time."""
    return ConnectionLost(
        "the host did not respond in time",
        host=str(destination),
        next_step="wait; if the host is only slow, raise request_timeout in [sshjob]",
        code="timeout",
    )


def key_file_missing(destination: Destination) -> ConfigurationError:
    """The error for a `key_file` that does not exist."""
    return ConfigurationError(
        f"key file not found: {destination.key_file}",
        host=str(destination),
        next_step="correct key_file in ssh_options",
        code="key-file-missing",
    )


def tunnel_failed(forwarding: str, reason: str, destination: Destination) -> ConnectionFailed:
    """The error for a port that cannot be forwarded."""
    return ConnectionFailed(
        f"cannot open the tunnel: {reason}",
        host=str(destination),
        doing=f"opening the tunnel {forwarding}",
        next_step="check that the local port is free and that the server allows forwarding",
        code="tunnel-failed",
    )


def program_missing(name: str, host: str) -> ConfigurationError:
    """The error for a program that is not installed on this machine."""
    return ConfigurationError(
        f"program not found on this machine: {name}",
        host=host,
        next_step=f"install it (Debian: apt-get install {'openssh-client' if name == 'ssh' else name})",
        code="program-missing",
    )
