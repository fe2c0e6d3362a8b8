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
# they say where the supervisor is, how its job is found again, or do something other than submit it
_OURS = re.compile(
    "array|batch|chdir|clusters?|error|gid|help|input|job-name|no-requeue|output|parsable|quiet|signal|test-only|uid|usage"
    "|verbose|version|wait|workdir|wrap"
)
# Slurm looks at time limits every half a minute, so its signal may come so many seconds early: sbatch(1), --signal
_EARLY = 60
_MARGIN = 10  # seconds for the record, behind the grace


@dataclasses.dataclass(frozen=True)
class SlurmLauncher(Launcher):
    """A launcher whose wishes are sbatch's long options."""

    def launch(self, wishes: LaunchOptions) -> LaunchSpec:
        """Requeuing is off unless asked for: a job runs once. Raises `ConfigurationError` and `UnsafeValue`."""
        if not isinstance(wishes.options, Mapping):
            raise _wrong(f"sbatch_options is no dict: {wishes.options!r}", "give a dict of sbatch's long options")
        options = {
            _name(name): value for name, value in wishes.options.items() if value is not None and value is not False
        }
        requeue = options.pop("requeue", False) is not False
        warning = math.ceil(wishes.kill_grace) + _MARGIN
        if wishes.time_limit and "time" not in options:
            # the supervisor keeps the limit to the second; Slurm's own must not come before
            options["time"] = math.ceil((wishes.time_limit + warning + _EARLY) / 60)
        words = [f"--signal=B:USR1@{warning}", "--requeue" if requeue else "--no-requeue"]
        words += [f"--{name}" if value is True else f"--{name}={_text(name, value)}" for name, value in options.items()]
        if not (isinstance(wishes.batch, int) and wishes.batch >= 1):
            raise _wrong(
                f"batch is no number of jobs: {wishes.batch!r}", "give how many jobs may go into one array, 1 for none"
            )
        quoted = " ".join(quoting.quote(word) for word in words)
        return LaunchSpec((str(math.ceil(wishes.interval)), str(wishes.batch), quoted), requeue)


# sbatch itself tries again for a while; how long a cluster that does not answer is waited for is the task's to say
SLURM = SlurmLauncher(name="slurm", start_timeout=30.0, launches=math.inf)


def _name(name: Any) -> str:
    option = name.replace("_", "-") if isinstance(name, str) else ""
    if not _OPTION.fullmatch(option):
        raise _wrong(f"this is no long option of sbatch: {name!r}", 'write it without dashes in front: "cpus-per-task"')
    if _OURS.fullmatch(option):
        raise _wrong(
            f"this sbatch option cannot be set for a job: {option}",
            "leave it out: luigi_sshjob needs it for itself, or it does not submit a job",
        )
    return option


def _text(name: str, value: Any) -> str:
    if isinstance(value, timedelta):
        # whole minutes are the finest unit that every version counts in
        value = math.ceil(value.total_seconds() / 60)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(
            f"an sbatch option cannot have a value of this kind: {name} {value!r}",
            "give a str, a number, True, None or a timedelta",
        )
    text = str(value)
    if not text.strip() or not text.isprintable():
        raise _wrong(f"the value of an sbatch option is not one line of text: {name} {text!r}", "give one line of text")
    return text


def _wrong(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(problem, next_step=next_step)
