"""Slurm: `sbatch` runs the supervisor on a node of the cluster whose login node is the host.

What the far side does is in `remote/scheduler/slurm.sh`; option names and formats are those of sbatch(1).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher, LaunchOptions, LaunchSpec
from luigi_sshjob.remote import quoting

_OPTION = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# options that the package sets itself to find the supervisor and the job again, or that make sbatch not submit a job
_RESERVED = re.compile(
    "array|batch|chdir|clusters?|error|gid|help|input|job-name|no-requeue|output|parsable|quiet|signal|test-only|uid|usage"
    "|verbose|version|wait|workdir|wrap"
)
# Slurm checks time limits every 30 seconds, so its signal may come up to 60 seconds early: sbatch(1), --signal
_EARLY = 60
_MARGIN = 10  # seconds for writing the exit record, after the grace


@dataclasses.dataclass(frozen=True)
class SlurmLauncher(Launcher):
    """A launcher whose options_ are sbatch's long options."""

    def launch(self, options: LaunchOptions) -> LaunchSpec:
        """Disables requeuing unless `sbatch_options` ask for it. Raises `ConfigurationError` and `UnsafeValue`."""
        if not isinstance(options.options, Mapping):
            raise _invalid(
                f"sbatch_options must be a dict: {options.options!r}", "give a dict of sbatch's long options"
            )
        given = {
            _name(name): value for name, value in options.options.items() if value is not None and value is not False
        }
        requeue = given.pop("requeue", False) is not False
        warning = math.ceil(options.kill_grace) + _MARGIN
        if options.time_limit and "time" not in given:
            # the supervisor enforces the limit to the second; Slurm's own must not come first
            given["time"] = math.ceil((options.time_limit + warning + _EARLY) / 60)
        words = [f"--signal=B:USR1@{warning}", "--requeue" if requeue else "--no-requeue"]
        words += [f"--{name}" if value is True else f"--{name}={_text(name, value)}" for name, value in given.items()]
        if not (isinstance(options.batch, int) and options.batch >= 1):
            raise _invalid(
                f"batch must be a positive integer: {options.batch!r}",
                "give how many jobs may become one array, 1 for no array",
            )
        quoted = " ".join(quoting.quote(word) for word in words)
        return LaunchSpec((str(math.ceil(options.interval)), str(options.batch), quoted), requeue)


# sbatch itself retries for a while; after that unreachable_timeout limits how long a task waits for the cluster
SLURM = SlurmLauncher(name="slurm", start_timeout=30.0, launches=math.inf, on_host=False)


def _name(name: Any) -> str:
    option = name.replace("_", "-") if isinstance(name, str) else ""
    if not _OPTION.fullmatch(option):
        raise _invalid(
            f"invalid name of an sbatch option: {name!r}", 'write it without dashes in front: "cpus-per-task"'
        )
    if _RESERVED.fullmatch(option):
        raise _invalid(
            f"this sbatch option cannot be set for a job: {option}",
            "leave it out: luigi_sshjob sets it itself, or sbatch would not submit a job",
        )
    return option


def _text(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        # whole minutes are the finest unit that every version counts in
        value = math.ceil(value.total_seconds() / 60)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _invalid(
            f"invalid value for an sbatch option: {name} {value!r}",
            "give a str, a number, True, None or a timedelta",
        )
    text = str(value)
    if not text.strip() or not text.isprintable():
        raise _invalid(f"invalid value for an sbatch option: {name} {text!r}", "give one line of text")
    return text


def _invalid(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(problem, next_step=next_step)
