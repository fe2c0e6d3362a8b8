"""Options of a task for Slurm: validates them, and makes words for sbatch of them. Names are those of sbatch(1)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from luigi_sshjob.errors import ConfigurationError

_OPTION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# options that the package sets itself to find the supervisor and the job again, or that make sbatch not submit a job
_RESERVED = (
    *("array", "batch", "chdir", "cluster", "clusters", "error", "gid", "help", "input", "job-name", "no-requeue"),
    *("output", "parsable", "quiet", "signal", "test-only", "uid", "usage", "verbose", "version", "wait", "workdir"),
    "wrap",
)


def given_options(options: Any) -> dict[str, Any]:
    """The options that are set, by sbatch's names. Raises `ConfigurationError`."""
    if not isinstance(options, Mapping):
        raise _invalid(f"sbatch_options must be a dict: {options!r}", "give a dict of sbatch's long options")
    return {_name(name): value for name, value in options.items() if value is not None and value is not False}


def option_word(name: str, value: Any) -> str:
    """The word for sbatch. Raises `ConfigurationError`."""
    return f"--{name}" if value is True else f"--{name}={_text(name, value)}"


def _name(name: Any) -> str:
    option = name.replace("_", "-") if isinstance(name, str) else ""
    if not _OPTION.fullmatch(option):
        raise _invalid(
            f"invalid name of an sbatch option: {name!r}", 'write it without dashes in front: "cpus-per-task"'
        )
    if option in _RESERVED:
        next_step = "leave it out: luigi_sshjob sets it itself, or sbatch would not submit a job"
        raise _invalid(f"this sbatch option cannot be set for a job: {option}", next_step)
    # sbatch accepts the beginning of a name. No other option of sbatch has a name that is one of these.
    meant = [known for known in (*_RESERVED, "requeue", "time") if known.startswith(option) and known != option]
    if meant:
        next_step = "write the whole name of the option"
        raise _invalid(
            f"this abbreviation of an sbatch option cannot be used: {option} (of {', '.join(meant)})", next_step
        )
    return option


def _text(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        # whole minutes are the finest unit that every version counts in
        value = math.ceil(value.total_seconds() / 60)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        next_step = "give a str, a number, True, None or a timedelta"
        raise _invalid(f"invalid value for an sbatch option: {name} {value!r}", next_step)
    text = str(value)
    if not text.strip() or not text.isprintable():
        raise _invalid(f"invalid value for an sbatch option: {name} {text!r}", "give one line of text")
    return text


def _invalid(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(problem, next_step=next_step)
