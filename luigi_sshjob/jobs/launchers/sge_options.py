"""Options of a task for Grid Engine: validates them, and makes words for qsub of them. Names are those of qsub(1)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from luigi_sshjob.errors import ConfigurationError

# options that the package sets itself, that run the job again or make qsub submit something else, nothing, or wait
_RESERVED = frozenset({"@", "C", "I", "N", "S", "b", "c", "ckpt", "clear", "cwd", "e", "help", "i", "inherit", "j"})
_RESERVED |= {
    "jsv",
    "now",
    "noshell",
    "nostdin",
    "o",
    "pty",
    "shell",
    "sync",
    "t",
    "terse",
    "u",
    "verbose",
    "verify",
    "wd",
}
_FLAGS = frozenset({"V", "h", "hard", "notify", "soft"})  # without a value; qsub would take one for the script
_SWITCHES = frozenset({"R", "r"})  # y or n
_SEVERAL_WORDS = frozenset({"binding", "pe"})
# qsub would replace what tells a job on its node which one it is
_NODE_VARIABLES = re.compile(r"(^|,) *(SGE_TASK_\w+|JOB_ID|RESTARTED|SSHJOB_\w*) *(=|,|$)")


def option_words(options: Any) -> list[list[str]]:
    """The words of each option of a task. Raises `ConfigurationError`."""
    if not isinstance(options, Mapping):
        raise invalid(f"sge_options must be a dict: {options!r}", "give a dict of qsub's options without their dashes")
    return [_words(name, value) for name, value in options.items() if value is not None and value is not False]


def invalid(problem: str, next_step: str) -> ConfigurationError:
    """Make the error for an invalid option."""
    return ConfigurationError(problem, next_step=next_step)


def _words(name: Any, value: Any) -> list[str]:
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z_]*|@", name)):
        raise invalid(f"invalid name of a qsub option: {name!r}", 'write it without a dash in front: "hold_jid"')
    if name in _RESERVED or (name == "w" and value not in ("e", "w", "n")):
        next_step = "leave it out: luigi_sshjob sets it itself, or qsub would not submit the job as it is"
        raise invalid(f"this qsub option cannot be set for a job: {name}", next_step)
    if name in _FLAGS:
        if value is not True:
            raise invalid(f"this qsub option has no value: {name} {value!r}", "give True, or leave it out")
        return [f"-{name}"]
    text = "y" if value is True and name in _SWITCHES else _text(name, value)
    words = text.split() if name in _SEVERAL_WORDS else [text]
    if name == "pe" and len(words) != 2:
        raise invalid(f"invalid value for a qsub option: {name} {value!r}", 'give name and number of slots: "smp 4"')
    if name == "v" and _NODE_VARIABLES.search(text):
        raise invalid(f"this variable cannot be set for a job: {text}", "leave it out: Grid Engine sets it")
    return [f"-{name}", *words]


def _text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        value = ",".join(_items(name, value))
    elif isinstance(value, (list, tuple)):
        value = (" " if name in _SEVERAL_WORDS else ",").join(_text(name, item) for item in value)
    elif isinstance(value, timedelta):
        value = math.ceil(value.total_seconds())
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        next_step = "give a str, a number, a timedelta, or a list or dict of these"
        raise invalid(f"invalid value for a qsub option: {name} {value!r}", next_step)
    text = str(value)
    # a priority may be negative; another word with a dash would be an option
    if not text.strip() or not text.isprintable() or re.match("-(?![0-9]+$)", text):
        raise invalid(
            f"invalid value for a qsub option: {name} {text!r}", "give one line of text, without a dash in front"
        )
    return text


def _items(name: str, value: Mapping[Any, Any]) -> list[str]:
    """Those of a dict: a resource without a value is TRUE, a variable without one is that of the host's session."""
    items = []
    for key, item in value.items():
        if item is None or item is False:
            continue
        text = key if item is True else f"{key}={_text(name, item)}"
        if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", key)) or "," in text:
            next_step = "give a dict of names and values without commas"
            raise invalid(f"invalid value for a qsub option: {name} {value!r}", next_step)
        items.append(text)
    return items
