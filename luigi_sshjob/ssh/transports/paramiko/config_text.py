"""The files of the ssh configuration as one text, because paramiko's parser does not know Include."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from luigi_sshjob.error_context import is_local
from luigi_sshjob.errors import LoginMisconfigured
from luigi_sshjob.ssh.transports.config_files import INCLUDE, SYSTEMS, config_files, include_patterns

_BLOCK = re.compile(r"\s*(?:host|match)\b\s*=?\s*(.*)", re.IGNORECASE)
# ssh_config(5): readconf.c has the same limit
_DEPTH = 16
_FOR_ALL = "Host *"


def read_config_text(ssh_config: str, host: str, *, system: bool = True) -> str:
    """The text of `ssh_config`, or of the files that ssh reads by default. Raises `LoginMisconfigured`."""
    lines: list[str] = []
    # an account without an entry in the user database has HOME alone
    home = os.path.expanduser("~")
    for path in config_files(ssh_config, home):
        if path == SYSTEMS and not system:
            continue
        try:
            lines += [_FOR_ALL, *_Files(path, home, host).read(path)]
        except FileNotFoundError as error:
            if ssh_config or error.filename != path:
                raise invalid_config(f"{error.filename}: file not found", host) from error
        except (OSError, ValueError) as error:
            if is_local(error):
                raise
            raise invalid_config(f"{path}: {error}", host) from error
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class _Files:
    """A file and those it includes."""

    first: str
    home: str
    host: str

    def read(self, path: str, depth: int = _DEPTH, enclosing: str = _FOR_ALL) -> Iterator[str]:
        if not depth:
            raise invalid_config(f"{path}: Include within Include, more than 16 times", self.host)
        block = enclosing
        for line in Path(path).read_text("utf-8").splitlines():
            if match := _BLOCK.match(line):
                if enclosing != _FOR_ALL:
                    problem = f"{path} has a Host or Match, but its Include is in one; paramiko cannot combine them"
                    raise invalid_config(problem, self.host)
                block = _FOR_ALL if match[1].strip().lower() in ("*", "all") else line
            if match := INCLUDE.fullmatch(line):
                for included in self._included(match[2]):
                    yield from self.read(included, depth - 1, block)
                    # what follows belongs to the block in which the Include is
                    yield block
            else:
                yield line

    def _included(self, words: str) -> Iterator[str]:
        if "%" in words or "$" in words:
            problem = f"Include {words}: paramiko does not expand it, so write the path in full"
            raise invalid_config(problem, self.host)
        for pattern in include_patterns(words, self.first, self.home):
            yield from sorted(glob.glob(pattern))


def invalid_config(problem: str, host: str) -> LoginMisconfigured:
    """The error for a configuration that cannot be used."""
    return LoginMisconfigured(
        f"invalid ssh configuration: {problem}",
        host=host,
        doing="logging in",
        next_step="correct the file, or ssh_config in [sshjob]",
        code="invalid-ssh-config",
    )
