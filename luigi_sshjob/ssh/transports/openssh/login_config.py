"""The ssh configuration of a login: the user's, after what must hold on the way to the host."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from luigi_sshjob.config import Settings

_SYSTEMS = "/etc/ssh/ssh_config"
_INCLUDE = re.compile(r"(\s*include\b\s*=?\s*)(.*)", re.IGNORECASE)


def config_files(settings: Settings) -> list[str]:
    """The files that ssh reads, in its order: `ssh_config`, or else that of the account and that of the system."""
    if settings.ssh_config:
        return [os.path.abspath(os.path.expanduser(settings.ssh_config))]
    # not $HOME, which ssh does not follow
    return [os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", "config"), _SYSTEMS]


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
    return "\n".join([*lines, *map(_text, config_files(settings))]) + "\n"


def _text(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        # ssh -G has complained before, if it matters
        return ""
    if path == _SYSTEMS:
        text = "\n".join(map(_absolute_include, text.splitlines()))
    # each file begins outside of any Host
    return f"Host *\n{text}"


def _absolute_include(line: str) -> str:
    """A relative Include of the system's file is below its directory, that of a user's file below ~/.ssh."""
    match = _INCLUDE.fullmatch(line)
    if not match:
        return line
    words = [word if word.lstrip('"').startswith(("/", "~")) else _below_etc(word) for word in match[2].split()]
    return match[1] + " ".join(words)


def _below_etc(word: str) -> str:
    quote = '"' if word.startswith('"') else ""
    return f"{quote}{os.path.dirname(_SYSTEMS)}/{word.removeprefix(quote)}"
