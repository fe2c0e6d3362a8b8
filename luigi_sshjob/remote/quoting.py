"""The only place that quotes for a shell, and the only one that reads `remote/*.sh`."""

from __future__ import annotations

import os
import re
from typing import Any

from luigi_sshjob.errors import UnsafeValue

# What a session runs on the far side, whatever the account's login shell: no backslash, no '!', no nested
# quote, so fish and tcsh read it as sh does. `read` takes the one line and not a byte more (POSIX), so the
# rest of standard input is left to what the line starts.
BOOTSTRAP = "exec /bin/sh -c 'IFS= read -r line && eval \"$line\"'"

_HOME = re.compile(r"~[A-Za-z0-9_.-]*(?=/|$)")


class Word(str):
    """Text that is already one quoted word of a POSIX shell."""


def quote(value: str) -> Word:
    """`value` as one word for a POSIX shell.

    Raises `UnsafeValue` for a NUL, which no word, path or environment value can carry.
    """
    if "\0" in value:
        raise UnsafeValue(
            f"a NUL byte cannot be passed on: {value!r}", next_step="take it out: no shell can pass it on"
        )
    return Word("'" + value.replace("'", "'\\''") + "'")


def path_text(path: Any) -> str:
    """A path that a user has given. Raises `UnsafeValue` for what is none."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise UnsafeValue(f"the path is no str: {path!r}", next_step="give the path of a file on the host as one")
    return text


def quote_path(path: str) -> Word:
    """A path as one word: `~` and `~user` still mean the home directory, nothing else is special.

    A path that starts with `-` cannot be taken for an option.
    """
    if not path:
        raise UnsafeValue("the path is empty", next_step="give the path of a file on the host")
    home = _HOME.match(path)
    if home:
        # the slash must stand outside the quotes for the tilde to be one
        slash, rest = path[home.end() : home.end() + 1], path[home.end() + 1 :]
        return Word(home.group() + slash + (quote(rest) if rest else ""))
    return quote("./" + path if path.startswith("-") else path)


def below_home(path: str) -> str:
    """A relative path as one below the home, for use where another directory may be the current one."""
    return path if path.startswith(("/", "~")) else f"~/{path}"


def directory_word(path: str) -> Word:
    """A directory that everything else is told below of: anchored, and without a slash at its end."""
    return quote_path(below_home(path.rstrip("/") or "/"))


def word(value: str | int | float) -> Word:
    """`value` quoted, unless it is a `Word` already."""
    return value if isinstance(value, Word) else quote(str(value))


def one_line(text: str) -> str:
    """`text`, whose only newlines stand inside quoted words, as one line that means the same."""
    if "\n" not in text:
        return text
    return "nl=$(printf '\\nx'); nl=${nl%x}; " + text.replace("\n", "'\"$nl\"'")


def encode(text: str) -> bytes:
    """UTF-8; bytes of a name that are not UTF-8 travel as Python's surrogate escapes."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")
