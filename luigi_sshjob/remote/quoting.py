"""Quoting for POSIX shells; nothing is quoted anywhere else."""

from __future__ import annotations

import os
import re
from typing import Any

from luigi_sshjob.errors import UnsafeValue

# The command line of each session. It contains no backslash, '!' or nested quote, so that fish and tcsh parse it as sh
# does. `read` consumes one line and no further byte (POSIX); the rest of standard input is for the line's own commands.
BOOTSTRAP = "exec /bin/sh -c 'IFS= read -r line && eval \"$line\"'"

# The shell of the scripts. As an rc file of bash may have exported functions named like commands, and options, a bash
# gets -p, which ignores them but leaves them in the environment, for jobs.
SHELL = "/bin/sh -c 'exec /bin/sh ${BASH_VERSION+-p} \"$@\"' sh"

_HOME = re.compile(r"~[A-Za-z0-9_.-]*(?=/|$)")


class Word(str):
    """Text that is already quoted as one word of a POSIX shell."""


def quote(value: str) -> Word:
    """Return `value` as one word for a POSIX shell.

    Raises `UnsafeValue` for a NUL byte, which no argument, path or environment variable can contain, and for a lone
    surrogate that is no byte.
    """
    if "\0" in value:
        raise UnsafeValue(f"the value contains a NUL byte: {value!r}", next_step="remove it: shells stop reading there")
    try:
        encode(value)
    except UnicodeEncodeError as error:
        # not the value, which may be a secret
        raise UnsafeValue(
            f"the value has a character that UTF-8 cannot represent: {value[error.start]!r}",
            next_step="remove it; os.fsdecode() makes a str of the bytes of a file name",
        ) from None
    return Word("'" + value.replace("'", "'\\''") + "'")


def path_text(path: Any) -> str:
    """Return a path as a str. Raises `UnsafeValue` for another type."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise UnsafeValue(f"the path must be a str, not {path!r}", next_step="use a path on the host, as a str")
    return text


def quote_path(path: str) -> Word:
    """Return a path as one word. Only `~` and `~user` at its beginning are expanded by the shell.

    A path that starts with `-` gets a `./`, so that it is not parsed as an option. Raises `UnsafeValue` for an empty
    path.
    """
    if not path:
        raise UnsafeValue("the path is empty", next_step="use a path on the host")
    home = _HOME.match(path)
    if home:
        # the shell expands a tilde only if the slash is not quoted
        slash, rest = path[home.end() : home.end() + 1], path[home.end() + 1 :]
        return Word(home.group() + slash + (quote(rest) if rest else ""))
    return quote("./" + path if path.startswith("-") else path)


def below_home(path: str) -> str:
    """Return a relative path with `~/` before it, for use where the working directory is another one."""
    return path if path.startswith(("/", "~")) else f"~/{path}"


def directory_word(path: str) -> Word:
    """Return a base directory as one word, absolute or below the home directory, without a slash at its end."""
    return quote_path(below_home(path.rstrip("/") or "/"))


def word(value: str | int | float) -> Word:
    """Return `value` quoted, unless it is a `Word`."""
    return value if isinstance(value, Word) else quote(str(value))


def one_line(text: str) -> str:
    """Return `text`, whose newlines are all inside quoted words, as one line with the same meaning."""
    if "\n" not in text:
        return text
    return "nl=$(printf '\\nx'); nl=${nl%x}; " + text.replace("\n", "'\"$nl\"'")


def encode(text: str) -> bytes:
    """Encode as UTF-8; surrogate escapes become the bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")
