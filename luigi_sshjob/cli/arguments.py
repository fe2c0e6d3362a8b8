"""Types and groups of arguments that several subcommands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from argcomplete.completers import SuppressCompleter

from luigi_sshjob.cli.hosts import recent_hosts
from luigi_sshjob.cli.states import STATES

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

ALL_RECENT = "default: all hosts to which jobs were submitted in the last month"


def add_host(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add HOST, which a shell completes with recently used hosts."""
    action = parser.add_argument(options.pop("name", "host"), metavar="HOST", **options)
    action.completer = lambda **_: recent_hosts()  # type: ignore[attr-defined]  # of argcomplete


def add_jobs(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add `[HOST] JOB`; `nargs` is "+" for several jobs. The parsed `words` are in order."""
    add_host(parser, nargs="?", action=_AddWords, help="default: the recently used host that has the job")
    text = "TASK_ID/ATTEMPT, TASK_ID for the newest attempt, or the beginning of a TASK_ID that no other task has"
    action = parser.add_argument("job", metavar="JOB", nargs=nargs, action=_AddWords, help=text)
    # by default argcomplete offers local files
    action.completer = SuppressCompleter()  # type: ignore[attr-defined]


class _AddWords(argparse.Action):
    """Adds to `words`: which of them is a host is decided when all are known."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option_string: str | None = None,
    ) -> None:
        words = [] if values is None else [values] if isinstance(values, str) else values
        namespace.words = [*getattr(namespace, "words", ()), *words]


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a login, and the base directory."""
    group = parser.add_argument_group("connection options (default: as in [sshjob], or at the last use)")
    group.add_argument("--key-file", help="as ssh -i")
    group.add_argument("--no-host-key-check", action="store_true", help="accept any host key")
    group.add_argument("--sshpass", action="store_true", help="read the password from the environment variable SSHPASS")
    group.add_argument("--transport", help="openssh, paramiko or local")
    group.add_argument("--base-dir", help="directory on the host that holds the jobs")


def add_json_option(parser: argparse.ArgumentParser, text: str) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help=f"print JSON: {text}")


def duration(text: str) -> float:
    """Parse a time with its unit; returns seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"invalid time: {text!r}; write 90s, 30m, 36h, 14d or 8w")
    return float(match[1]) * _UNITS[match[2]]


def count(text: str) -> int:
    """Parse a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"invalid number: {text!r}")
    return int(text)


def states(text: str) -> list[str]:
    """Parse states, separated by commas, as a listing or JSON spells them."""
    found = [re.sub("[ -]", "_", word.strip()) for word in text.split(",")]
    for word in found:
        if word not in STATES:
            raise argparse.ArgumentTypeError(f"unknown state: {word!r}; choose from {', '.join(STATES)}")
    return found
