"""What a login tells on standard error when ssh runs with -v (OpenSSH 9.2).

Without -v ssh discards the messages of a ProxyCommand and of jump hosts where the connection is to persist
(sshconnect.c).
"""

from __future__ import annotations

import dataclasses
import re

_DEBUG = re.compile(r"(?m)^(debug[123]: |OpenSSH_|Authenticated to ).*\n?")
# a factor was accepted, and another one is required
_PARTIAL = re.compile(r"(?m)^(?:debug1: )?Authenticated (?:using .* )?with partial success\.\r?\n?")
FACTOR_MISSING = "the key was accepted, but another factor is required"
ACCOUNT_REFUSED = "the connection was closed in answer to a login"
_REFUSED = "debug1: Authentications that can continue"
_ATTEMPT = re.compile(
    r"(?m)^debug1: (?:Server accepts key: |Next authentication method: (?:password|keyboard-interactive|gssapi))"
)
# what a server sends before, or in place of, its version: HTML of a web server, the reason of an sshd that is busy
_BANNER = re.compile(r"(?m)^debug1: kex_exchange_identification: banner line \d+: *(.*?)\r?$")
_HOP = re.compile(r"(?m)^debug1: (?:Authenticating to (\S+):(\d+) as '([^']*)'|Connecting to (\S+) .*port (\d+))")
# what ssh prints after its proxy has ended, be it the ssh of a jump host
_PROXY_ENDED = re.compile(
    r"(?m)^.*UNKNOWN port 65535.*\n?|^kex_exchange_identification: Connection closed by remote host\n"
)


@dataclasses.dataclass(frozen=True)
class LoginLog:
    """What a failed login has printed, for people and for the search of the cause."""

    words: str
    """What people should read: without debug messages, and without what only repeats that the proxy has ended."""
    evidence: str
    """The words, and what they leave out."""
    hop: str = ""
    """The last machine with which the login was tried: user@host:port."""
    behind_proxy: bool = False
    """Whether a proxy or a jump host has failed."""


def read_login_log(log: str) -> LoginLog:
    """Read the standard error of a failed login."""
    text = strip_debug(log)
    behind_proxy = "UNKNOWN port 65535" in text
    words = (_PROXY_ENDED.sub("", text) if behind_proxy else text) or text
    told = []
    banner = [line for line in _BANNER.findall(log) if line]
    if banner and "debug1: Remote protocol version" not in log[log.rfind("banner line") :]:
        told.append(f"in place of a version: {banner[0]}")
        words = f"{banner[0]}\n{words}"
    hop, since = "", 0
    for match in _HOP.finditer(log):
        host, port, user, bare_host, bare_port = match.groups()
        hop, since = f"{user}@{host}:{port}" if host else f"{bare_host}:{bare_port}", match.end()
    if _PARTIAL.search(log[since:]) and "Permission denied" in words:
        told.append(FACTOR_MISSING)
    answered = log[max(since, log.rfind(_REFUSED)) :]
    if _ATTEMPT.search(answered) and "Connection closed by" in words:
        told.append(ACCOUNT_REFUSED)
    return LoginLog(words, "\n".join([*told, words]), hop, behind_proxy)


def strip_debug(log: str) -> str:
    """The log of a login without debug messages and without the host's banner."""
    text = re.sub(r"(?ms)^(debug1: SSH2_MSG_SERVICE_ACCEPT received\r?\n).*?^(?=debug1: |\Z)", r"\1", log)
    return without_debug(text)


def without_debug(text: str) -> str:
    """Complete lines of a log without debug messages."""
    return _DEBUG.sub("", _PARTIAL.sub("", text))
