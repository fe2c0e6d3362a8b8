"""The files of the ssh configuration, and what their Include lines mean (ssh_config(5))."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

SYSTEMS = "/etc/ssh/ssh_config"
INCLUDE = re.compile(r"(\s*include\b\s*=?\s*)(.*)", re.IGNORECASE)


def config_files(ssh_config: str, home: str) -> list[str]:
    """The files that ssh reads first, in its order: `ssh_config`, or else that of the account and that of the system.

    `home` is the directory of the account.
    """
    if ssh_config:
        return [os.path.abspath(os.path.expanduser(ssh_config))]
    return [os.path.join(home, ".ssh", "config"), SYSTEMS]


def include_patterns(words: str, path: str, home: str) -> Iterator[str]:
    """The patterns of an Include in the file `path`, or in one that it includes, as absolute paths.

    Raises `ValueError` if a quotation is not closed.
    """
    # a relative pattern of a user's file is below ~/.ssh, wherever that file is
    systems = os.path.dirname(SYSTEMS)
    folder = systems if path.startswith(f"{systems}/") else os.path.join(home, ".ssh")
    for word in shlex.split(words):
        yield os.path.join(folder, os.path.expanduser(f"{home}{word[1:]}" if word.startswith("~/") else word))
