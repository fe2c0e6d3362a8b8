"""The ssh configuration of a login: the user's, after what must hold on the way to the host."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from luigi_sshjob.config import Settings
from luigi_sshjob.ssh.transports.config_files import INCLUDE, SYSTEMS, config_files, include_patterns


def account_home() -> str:
    """The home directory for ssh, which does not follow $HOME."""
    return pwd.getpwuid(os.getuid()).pw_dir


def login_config(settings: Settings, *, password: bool = False, by_hand: bool = False) -> str:
    """The text of a configuration file for `ssh -F`, for a login with a `password`, or `by_hand` with any prompts.

    ssh passes its name on to the ssh of a jump host, but not the options of its command line. The first value counts.
    The text of the user's files is in it, as ssh has rules for the owner and the mode of included files.
    """
    lines = [
        # the ssh of a jump host would try an empty password three times
        *(() if password or by_hand else ("BatchMode yes",)),
        *(() if by_hand else ("NumberOfPasswordPrompts 1",)),
        *(() if settings.forward_agent == "true" else ("ForwardAgent no",)),
        "ForwardX11 no",
        # nothing else is to run when the login has been made
        "PermitLocalCommand no",
    ]
    return "\n".join([*lines, *map(_text, config_files(settings.ssh_config, account_home()))]) + "\n"


def _text(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        # ssh -G has complained before, if it matters
        return ""
    if path == SYSTEMS:
        # in another file it would be below ~/.ssh
        text = "\n".join(map(_absolute_include, text.splitlines()))
    # each file begins outside of any Host
    return f"Host *\n{text}"


def _absolute_include(line: str) -> str:
    if match := INCLUDE.fullmatch(line):
        # ssh -G has complained before
        with contextlib.suppress(ValueError):
            patterns = include_patterns(match[2], SYSTEMS, account_home())
            return match[1] + " ".join(f'"{pattern}"' for pattern in patterns)
    return line
