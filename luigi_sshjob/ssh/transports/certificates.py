"""Certificates of the user that ssh has offered: whether one has expired, which neither ssh nor the server says."""

from __future__ import annotations

import datetime
import os
import re
import subprocess

from luigi_sshjob.ssh.local.starting import start

# the path of a key; its certificate is next to it, or is that file itself (CertificateFile)
_OFFERED = re.compile(r"(?m)^debug1: Offering public key: (.+) [A-Z0-9-]+-CERT SHA256:")
_VALID = re.compile(r"(?m)^\s+Valid: .*\bto (\S+)$")


def expired_in_log(log: str) -> str:
    """What `expired` says of the first expired certificate in the log of a login (ssh -v of OpenSSH 9.2)."""
    offered = [path for key in _OFFERED.findall(log) for path in (f"{key}-cert.pub", key)]
    return next(filter(None, map(expired, offered)), "")


def expired(path: str) -> str:
    """When the certificate in a file expired; empty if it did not, or there is none."""
    until = _valid_until(path) if os.path.exists(path) else ""
    # local time, as ssh-keygen prints it
    if until and datetime.datetime.fromisoformat(until) < datetime.datetime.now():
        return f"Certificate expired: {path} was valid until {until}"
    return ""


def _valid_until(path: str) -> str:
    argv = ["ssh-keygen", "-L", "-f", path]
    try:
        silent = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        shown, _ = start(subprocess.Popen, argv, stdout=subprocess.PIPE, **silent).communicate()
    except FileNotFoundError:
        return ""
    match = _VALID.search(shown.decode("utf-8", "replace"))
    # "forever" is no date
    return match[1] if match and match[1][0].isdigit() else ""
