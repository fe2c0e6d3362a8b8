"""Maps what ssh prints, and the exceptions of paramiko, to this package's errors.

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
    LoginMisconfigured,
    LoginNeeded,
    SessionRefused,
    SSHJobError,
)
from luigi_sshjob.ssh.transports.login_causes import CAUSES, Cause, find_cause
from luigi_sshjob.ssh.transports.login_log import LoginLog, read_login_log
from luigi_sshjob.text import printable_line

_MAX_LINE = 500  # characters of what ssh has printed, in an error

# The name in known_hosts, which is not the alias, and has the port where that is not 22.
_KNOWN_AS = re.compile(r"host key for (\S+) has changed", re.IGNORECASE)


def login_error(
    log: str, destination: Destination, ssh_config: str = "", *, by_hand: bool = True, prompted: bool = False
) -> SSHJobError:
    """The error for what a failed login has printed, with ssh's debug messages or without; see `find_cause`.

    A login that was `prompted` has sent what a person has typed.
    """
    seen = read_login_log(log)
    sent = "a password was sent\n" if prompted or destination.sshpass or destination.password else ""
    return _cause_error(find_cause(sent + seen.evidence, by_hand=by_hand), seen, destination, ssh_config, "logging in")


def session_error(output: str, destination: Destination, ssh_config: str = "") -> SSHJobError | None:
    """The error for a session that the account's state ended, from what that printed; None for another reason."""
    cause = find_cause(output)
    if not cause.ends_sessions:
        return None
    return _cause_error(cause, LoginLog(output, output), destination, ssh_config, "opening a session")


def local_limit(output: str, destination: Destination) -> SSHJobError | None:
    """The error for a process of this machine that a limit has ended, from what it printed; None for another reason."""
    if not re.search(r"cannot fork|fork: |can't start new thread", output, re.IGNORECASE):
        return None
    cause = next(cause for cause in CAUSES if cause.code == "local-limit")
    return _cause_error(cause, LoginLog(output, output), destination, "", "opening a session")


def _cause_error(cause: Cause, seen: LoginLog, destination: Destination, ssh_config: str, doing: str) -> SSHJobError:
    known = _KNOWN_AS.search(seen.words)
    lines = [printable_line(line.strip(), _MAX_LINE) for line in seen.words.splitlines() if line.strip(" @\r\n")]
    at = f" at {seen.hop}" if seen.hop and seen.behind_proxy else ""
    return cause.kind(
        f"{cause.problem}{at}: {'; '.join(lines[-4:]) or 'ssh printed no message'}",
        host=str(destination),
        doing=doing,
        next_step=cause.next_step.format(
            known_as=shlex.quote(known[1] if known else destination.host),
            ssh=destination.by_hand(ssh_config),
            hop=seen.hop or destination.host,
            login=destination.login_command,
        ),
        code="proxy-failed" if cause.code == "connection-failed" and seen.behind_proxy else cause.code,
    )


def client_error(words: str, stderr: str, destination: Destination) -> SSHJobError:
    """The error for a multiplexed client that ended too early, from its own words and the stderr of its command.

    A client cannot log in, so neither is about a login.
    """
    if re.search(r"refused by peer|request failed|open failed", words):
        return session_refused(destination)
    return connection_lost(f"{stderr}\n{words}", destination)


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


def no_existing_master(destination: Destination, ssh_config: str) -> LoginNeeded:
    """The error for a connection that a person has to open, with their own ssh."""
    return LoginNeeded(
        "no existing master, and existing_master is require",
        host=str(destination),
        next_step=f"log in with `{destination.by_hand(ssh_config)}`; tasks wait for it",
        code="no-existing-master",
    )


def key_file_missing(destination: Destination) -> LoginMisconfigured:
    """The error for a `key_file` that does not exist."""
    return LoginMisconfigured(
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
