"""The ssh configuration of a login: the user's, after what must hold on the way to the host."""

from __future__ import annotations

import re

from luigi_sshjob.config import Settings

# In the order in which ssh reads them; a relative path of an Include there means the same as without this file.
_DEFAULT = ("~/.ssh/config", "/etc/ssh/ssh_config")


def login_config(settings: Settings, *, password: bool = False, by_hand: bool = False) -> str:
    """The text of a configuration file for `ssh -F`, for a login with a `password`, or `by_hand` with any prompts.

    ssh passes its name on to the ssh of a jump host, but not the options of its command line. The first value counts.
    """
    lines = [
        # the ssh of a jump host would try an empty password three times
        *(() if password or by_hand else ("BatchMode yes",)),
        *(() if by_hand else ("NumberOfPasswordPrompts 1",)),
        *(() if settings.forward_agent == "true" else ("ForwardAgent no",)),
        "ForwardX11 no",
        # nothing else is to run when the login has been made
        "PermitLocalCommand no",
        *(f"Include {_literal(path)}" for path in ([settings.ssh_config] if settings.ssh_config else _DEFAULT)),
    ]
    return "\n".join(lines) + "\n"


def _literal(path: str) -> str:
    """A path for Include, which expands patterns."""
    return '"' + re.sub(r"[*?\[]", r"[\g<0>]", path).replace("\\", "\\\\").replace('"', '\\"') + '"'
