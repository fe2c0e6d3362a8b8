"""What keeps a job from disturbing others on its host: low priorities, and limits of memory and CPU time."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.numbers import number
from luigi_sshjob.remote import quoting

_PERIOD = 100_000  # microseconds in which the kernel counts CPU time, see cpu.max in the kernel's cgroup-v2.rst
_LEAST_MEMORY = 1 << 20  # bytes; less is rather a mistake in the unit, as no shell runs with it
_MOST_MEMORY = 2 << 40
_LEAST_CPU = 0.01  # the kernel takes no less than a millisecond in a period
_MOST_CPU = 10_000
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_IONICE = re.compile(r"idle|best-effort:[0-7]")


@dataclasses.dataclass(frozen=True)
class Gentle:
    """Zero and "" mean nothing. `memory_limit` is in bytes; `cpu_limit` is a number of cores."""

    nice: int = 0
    ionice: str = ""
    memory_limit: int = 0
    cpu_limit: float = 0

    @classmethod
    def checked(cls, nice: Any, ionice: Any, memory_limit: Any, cpu_limit: Any, launcher: Launcher) -> Gentle:
        """Raises `ConfigurationError`, also for a limit that the scheduler of the launcher has itself."""
        found = cls(_niceness(nice), _io_class(ionice), _bytes(memory_limit), _cores(cpu_limit))
        for name, option in launcher.limit_options.items():
            if getattr(found, name):
                raise ConfigurationError(
                    f"a limit cannot be used with this launcher, whose scheduler has its own: {name}, {launcher.name}",
                    next_step=f"use {option}, and leave out {name} or set it for hosts without a scheduler only",
                )
        return found

    @classmethod
    def parse(cls, spec: Mapping[str, str]) -> Gentle:
        """That of an attempt, from values of its spec; what is damaged is left out."""
        nice, kibibytes, quota = (number(spec.get(name)) or 0 for name in ("nice", "memory_kib", "cpu_quota"))
        return cls(nice, spec.get("ionice", ""), kibibytes * 1024, quota / _PERIOD)

    def spec_lines(self) -> list[str]:
        """The lines of the file `spec`; none for what is not set, as in a spec of an earlier version."""
        values = {
            "nice": self.nice,
            "ionice": self.ionice,
            # shells count without fractions, and mksh to 2**31
            "memory_kib": self.memory_limit // 1024,
            "cpu_quota": round(self.cpu_limit * _PERIOD),
        }
        return [f"{name}={quoting.quote(str(value))}" for name, value in values.items() if value]


def _niceness(value: Any) -> int:
    niceness = _number(value)
    if niceness is None or niceness not in range(20):
        raise ConfigurationError(
            f"nice must be a whole number from 0 to 19: {value!r}", next_step="use 19 for the least priority"
        )
    return int(niceness)


def _io_class(value: Any) -> str:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not _IONICE.fullmatch(value):
        raise ConfigurationError(
            f"ionice must be a class of ionice(1): {value!r}",
            next_step='use "idle", or "best-effort:0" (first) to "best-effort:7" (last)',
        )
    return value


def _bytes(value: Any) -> int:
    amount = _number(value)
    if isinstance(value, str) and (match := _MEMORY.fullmatch(value.strip())):
        amount = float(match[1]) * 1024 ** " KMGT".index((match[2] or " ").upper())
    if amount is None or not (amount == 0 or _LEAST_MEMORY <= amount < _MOST_MEMORY):
        raise ConfigurationError(
            f"memory_limit must be a size from one mebibyte to less than two tebibytes: {value!r}",
            next_step='use bytes, or a text such as "512M" or "8G" (powers of 1024)',
        )
    return int(amount)


def _cores(value: Any) -> float:
    cores = _number(value)
    if cores is None or not (cores == 0 or _LEAST_CPU <= cores <= _MOST_CPU):
        raise ConfigurationError(
            f"cpu_limit must be a number of cores, at least {_LEAST_CPU}: {value!r}",
            next_step="use a number such as 2, or 0.5 for half of the time of one",
        )
    return cores


def _number(value: Any) -> float | None:
    """0 for what is not set; None for what is not a finite number. A parameter or an INI file may give a text."""
    if value in (None, ""):
        return 0
    try:
        amount = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) else None
