"""Why a login failed, by what ssh prints (OpenSSH 9.2), and what to do about it. No other module knows ssh's words."""

from __future__ import annotations

import dataclasses
import re

from luigi_sshjob.errors import (
    HostUnreachable,
    LocalResourceError,
    LoginMisconfigured,
    LoginNeeded,
    LoginRefused,
    SSHJobError,
)


@dataclasses.dataclass(frozen=True)
class Cause:
    """One cause. In `next_step`, {ssh} is the command to try by hand, {hop} the machine that refused.

    {login} is the command with which a person logs in for this package.
    """

    code: str
    pattern: str
    kind: type[SSHJobError] = HostUnreachable
    problem: str = "cannot connect to the host"
    next_step: str = "check that `{ssh} true` works on this machine; jobs on the host keep running"
    ends_sessions: bool = False
    """Whether it may show only in a session, after the login."""


# The first that matches counts. The last matches everything.
CAUSES = (
    Cause(
        "local-limit",
        # of ssh and Python here, not of a shell behind a ProxyCommand or of a jump host
        r"can't start new thread|BlockingIOError|(?m:^(ssh: )?(fork|daemon\(\) failed): Resource temp"
        "|^(?!.*open failed).*Too many open files)",
        LocalResourceError,
        "a limit of this machine has been reached",
        "raise the limit on processes (ulimit -u) or open files (ulimit -n), or run fewer workers",
    ),
    Cause(
        "host-key-changed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        LoginRefused,
        "the host key has changed",
        "ask the host's administrator whether the change is legitimate; only then run ssh-keygen -R {known_as}",
    ),
    Cause(
        "host-certificate",
        "@cert-authority",
        LoginRefused,
        "the host's certificate cannot be checked by paramiko",
        "use the transport openssh, or add the host's own key to known_hosts",
    ),
    Cause(
        "host-key-unknown",
        "Host key verification failed|No .* host key is known",
        LoginRefused,
        "host key verification failed",
        "run `{ssh}` once by hand, compare the host key's fingerprint, and accept the key into known_hosts",
    ),
    Cause(
        "name-service-unavailable",
        "Temporary failure in name resolution|: Try again",
        HostUnreachable,
        "temporary failure in name resolution",
        "wait until names are resolved again; jobs on the host keep running",
    ),
    Cause(
        "name-unknown",
        "Could not resolve hostname",
        LoginRefused,
        "cannot resolve the host name",
        "check the spelling of the host, or set its HostName in the ssh configuration",
    ),
    Cause(
        "no-local-account",
        "No user exists for uid",
        LoginMisconfigured,
        "this account has no entry in the user database",
        "add it to /etc/passwd, or use the transport paramiko with USER and HOME in the environment",
    ),
    Cause(
        "too-many-keys",
        "Too many authentication failures",
        LoginRefused,
        "too many keys were tried",
        "set key_file, or IdentityFile and IdentitiesOnly yes in the ssh configuration: then only that key is tried",
    ),
    Cause(
        "account-expired",
        "account (has|is) expired",
        LoginRefused,
        "the account has expired",
        "ask the administrator of {hop} to extend it",
    ),
    Cause(
        "password-expired",
        "password (has|is) expired|Password change required|required to change your password",
        LoginRefused,
        "the password has expired",
        "change it with `{ssh}` in a terminal, or ask the administrator of {hop}",
        ends_sessions=True,
    ),
    Cause(
        "account-not-available",
        "account is currently not available",
        LoginRefused,
        "the account has no login shell",
        "ask the administrator of {hop} to give it one",
        ends_sessions=True,
    ),
    Cause(
        "key-file-permissions",
        r"UNPROTECTED PRIVATE KEY FILE[\s\S]*Permission denied",
        LoginRefused,
        "the key file may be read by others, so ssh ignores it",
        "run chmod 600 on the key file",
    ),
    Cause(
        "no-kerberos-ticket",
        # without a ticket a key may have been meant, if the host takes keys
        r"Ticket expired[\s\S]*Permission denied"
        r"|No Kerberos credentials[\s\S]*Permission denied \((?![^)]*publickey)[^)]*gssapi",
        LoginRefused,
        "there is no valid Kerberos ticket",
        "run kinit; tasks may then be run again",
    ),
    Cause(
        "certificate-expired",
        "Certificate expired: ",
        LoginRefused,
        "the certificate of the key has expired",
        "get a new one; tasks may then be run again",
    ),
    Cause(
        "password-refused",
        r"^a password was sent\n[\s\S]*Permission denied \([^)]*(?:password|keyboard-interactive)",
        LoginRefused,
        "the host has refused the password, or another response",
        "check SSHPASS, what the password function returns, or what was typed",
    ),
    Cause(
        "second-factor",
        r"another factor is required|Permission denied \(keyboard-interactive\)",
        LoginNeeded,
        "the host asks for more than a key",
        "run `{login}` in a terminal on this machine: tasks wait for that; or use the transport paramiko with a "
        "password function",
    ),
    Cause(
        "password-only",
        r"Permission denied \((password|password,keyboard-interactive|keyboard-interactive,password)\)",
        LoginRefused,
        "the host accepts passwords only",
        "set sshpass, and SSHPASS in the environment, or use the transport paramiko with a password function, or run "
        "`{login}` in a terminal first",
    ),
    Cause(
        "authentication-failed",
        "Permission denied|No more authentication methods|incorrect password",
        LoginRefused,
        "ssh authentication failed",
        "make `{ssh} true` work without any prompt: key_file, ssh-add, authorized_keys on {hop}",
    ),
    Cause(
        "proxy-program-missing",
        r"exec: .*not found|: (command )?not found\n[\s\S]*UNKNOWN port",
        LoginMisconfigured,
        "the program of the ProxyCommand is missing on this machine",
        "install it, or correct the ProxyCommand in the ssh configuration",
    ),
    Cause(
        "invalid-ssh-config",
        r"Bad configuration option|bad (owner or )?permissions|extra arguments at end|bad configuration|user config"
        # not "bash: line 1: …" of a proxy
        r"|(?m:^\S*[^\s:] line \d+: |^\S+: line \d+: (?:Bad|keyword|garbage|unsupported|missing|invalid|no ))"
        r"|command-line line|percent_expand|dollar_expand",
        LoginMisconfigured,
        "invalid ssh configuration",
        "fix what ssh reports: a line of the ssh configuration, its permissions, ssh_config in [sshjob]",
    ),
    Cause(
        "no-common-algorithm",
        "Unable to negotiate|no matching|incompatible",
        LoginRefused,
        "ssh and the server have no algorithm in common",
        "ask the administrator to update the server; until then allow its algorithms in the ssh configuration "
        "(HostKeyAlgorithms, KexAlgorithms, PubkeyAcceptedAlgorithms)",
    ),
    Cause(
        "jump-host-failed",
        "jump host does not connect|stdio forwarding failed",
        HostUnreachable,
        "cannot connect to the host",
        "check that host and port are correct from the jump host, and that it forwards (AllowTcpForwarding, "
        "PermitOpen); jobs on the host keep running",
    ),
    Cause(
        "account-refused",
        "the connection was closed in answer to a login",
        HostUnreachable,
        "the host does not let the account in at the moment",
        "wait, if the host is in maintenance, or ask the administrator of {hop}; jobs on the host keep running",
    ),
    Cause(
        "not-an-ssh-server",
        # what web, mail and file servers say; sshd may say anything before it closes a connection
        r"in place of a version: (<|HTTP/|\d{3}[ -]|\* OK|\+OK)"
        "|banner line contains invalid|Bad remote protocol|invalid characters|bad banner",
        LoginRefused,
        "the program at that port is not an SSH server",
        "check the port: `{ssh} true` must work on this machine",
    ),
    Cause(
        "connection-dropped",
        "banner|in place of a version|reset by|Connection closed by (?!UNKNOWN)|kex_exchange(?![^\n]*\n.*UNKNOWN)",
        next_step="wait some minutes; the server drops connections before the login: too many at the same time "
        "(MaxStartups), or it blocks this machine's address (fail2ban, PerSourcePenalties, hosts.deny). Ask its "
        "administrator; jobs on the host keep running",
    ),
    Cause(
        "connection-refused",
        "Connection refused|Connect failed",
        next_step="check the port, and that sshd runs: the machine is reachable, but nothing listens on that port; "
        "jobs on the host keep running",
    ),
    Cause(
        "no-response",
        r"timed out|no route|unreachable|connect to host|port \d+: ",
        next_step="check that the machine is up and that no firewall blocks that port; if it is only slow, raise "
        "connect_timeout in [sshjob]; jobs on the host keep running",
    ),
    Cause("connection-failed", ""),
)


def find_cause(words: str, *, by_hand: bool = True) -> Cause:
    """The cause in what ssh has printed; with `by_hand` a person may log in for this package."""
    causes = (cause for cause in CAUSES if by_hand or cause.kind is not LoginNeeded)
    return next(cause for cause in causes if re.search(cause.pattern, words, re.IGNORECASE))
