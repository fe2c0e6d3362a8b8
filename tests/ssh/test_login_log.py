"""What ssh -v prints when a login fails (recorded from OpenSSH 9.2), and the error that follows from it."""

from __future__ import annotations

import pytest

from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import HostUnreachable, LoginMisconfigured, LoginRefused
from luigi_sshjob.ssh.transports.error_mapping import login_error

VERSION = "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n"
CONNECTING = "debug1: Connecting to gate [10.0.0.1] port 22.\ndebug1: Connection established.\n"
GATE = f"{CONNECTING}debug1: Authenticating to gate:22 as 'me'\ndebug1: SSH2_MSG_SERVICE_ACCEPT received\n"
BANNER = "Unauthorized access is Permission denied\n"
KEYS = "debug1: Authentications that can continue: publickey\n"
ACCEPTED = "debug1: Server accepts key: /k ED25519 SHA256:x explicit\n"
JUMP = "debug1: Setting implicit ProxyCommand from ProxyJump: ssh -F c -v -W '[%h]:%p' gate\n"
IN = 'Authenticated to gate ([10.0.0.1]:22) using "publickey".\n'
INNER = "debug1: Authenticating to inner:22 as 'you'\ndebug1: SSH2_MSG_SERVICE_ACCEPT received\n"
ENDED = "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535\n"


@pytest.mark.parametrize(
    ("log", "kind", "code", "text"),
    [
        (
            f"{GATE}{BANNER}{KEYS}{ACCEPTED}Your account has expired; please contact your system administrator.\n"
            "Connection closed by 10.0.0.1 port 22\n",
            LoginRefused,
            "account-expired",
            "the account has expired: Your account has expired; please contact your system administrator.; Conn",
        ),
        (
            f"{GATE}{BANNER}{KEYS}{ACCEPTED}going down for maintenance\n\nConnection closed by 10.0.0.1 port 22\n",
            HostUnreachable,
            "account-refused",
            "the host does not let the account in at the moment: going down for maintenance; Connection closed",
        ),
        (
            f"{GATE}debug1: Authentications that can continue: password\ndebug1: Next authentication method: password\n"
            "going down for maintenance\n\nConnection closed by 10.0.0.1 port 22\n",
            HostUnreachable,
            "account-refused",
            "the host does not let the account in at the moment: going down for maintenance; Connection closed",
        ),
        (
            f"{GATE}{BANNER}{KEYS}Connection closed by 10.0.0.1 port 22\n",
            HostUnreachable,
            "connection-dropped",
            "cannot connect to the host: Connection closed by 10.0.0.1 port 22",
        ),
        (
            f"{JUMP}{VERSION}{GATE}{KEYS}me@gate: Permission denied (publickey).\n{ENDED}",
            LoginRefused,
            "authentication-failed",
            "ssh authentication failed at me@gate:22: me@gate: Permission denied (publickey).",
        ),
        (
            f"{JUMP}{VERSION}{GATE}{KEYS}{ACCEPTED}{IN}{INNER}{KEYS}you@inner: Permission denied (publickey).\n",
            LoginRefused,
            "authentication-failed",
            "ssh authentication failed: you@inner: Permission denied (publickey).",
        ),
        (
            f"{JUMP}{VERSION}{CONNECTING}ssh: connect to host gate port 22: Connection refused\n{ENDED}",
            HostUnreachable,
            "connection-refused",
            "cannot connect to the host at gate:22: ssh: connect to host gate port 22: Connection refused",
        ),
        (
            f"{JUMP}{VERSION}{GATE}{KEYS}{ACCEPTED}{IN}channel 0: open failed: connect failed: Connection refused\n"
            f"stdio forwarding failed\n{ENDED}",
            HostUnreachable,
            "jump-host-failed",
            "cannot connect to the host at me@gate:22: channel 0: open failed: connect failed: Connection refused;",
        ),
        (
            f"/bin/bash: line 1: exec: nosuchprogram: not found\n{ENDED}",
            LoginMisconfigured,
            "proxy-program-missing",
            "the program of the ProxyCommand is missing on this machine: /bin/bash: line 1: exec: nosuchprogram",
        ),
        (
            "quota exceeded at the gate\nbanner exchange: Connection to UNKNOWN port 65535: Broken pipe\n",
            HostUnreachable,
            "proxy-failed",
            "cannot connect to the host: quota exceeded at the gate",
        ),
        (
            "No user exists for uid 4711\n",
            LoginMisconfigured,
            "no-local-account",
            "this account has no entry in the user database: No user exists for uid 4711",
        ),
        (
            f"{GATE}{KEYS}Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\n"
            "Disconnected from 10.0.0.1 port 22\n",
            LoginRefused,
            "too-many-keys",
            "too many keys were tried: Received disconnect from 10.0.0.1 port 22:2: Too many",
        ),
        (
            f"{GATE}debug1: Authentications that can continue: password\nme@gate: Permission denied (password).\n",
            LoginRefused,
            "password-only",
            "the host accepts passwords only: me@gate: Permission denied (password).",
        ),
    ],
)
def test_a_failed_login_is_reported_with_its_cause_its_hop_and_its_words(log, kind, code, text):
    error = login_error(VERSION + log, Destination("inner"))
    assert (type(error), error.code) == (kind, code)
    assert error.problem.startswith(text)
    assert "debug1" not in str(error)
    assert "Unauthorized" not in str(error)
