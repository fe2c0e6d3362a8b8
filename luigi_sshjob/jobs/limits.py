"""Limits that the supervisor of a job keeps besides its time limit, and the warning before that."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.numbers import number

LOG_ACTIONS = ("end", "truncate")
# not INT, QUIT and HUP: a background command of a shell, or one below nohup, has to ignore them
_SIGNALS = ("USR1", "USR2", "ALRM", "TERM", "URG", "CONT")
_MOST = 10**9  # seconds, kB: numbers end at 2 GiB in mksh
_LONGEST_WARNING = 65536  # seconds: the most that sbatch(1) allows for --signal is 65535


@dataclasses.dataclass(frozen=True)
class Limits:
    """Times are seconds, the size of a log is bytes; 0 is no limit, and an empty signal is no warning."""

    idle: float = 0
    log: int = 0
    log_action: str = "end"
    warning_signal: str = ""
    warning: float = 0

    @classmethod
    def checked(cls, idle: float, log: Any, warning: Any, time_limit: float) -> Limits:
        """From attributes of a task or settings. Raises `ConfigurationError`."""
        if idle < 0:
            raise ConfigurationError(
                f"idle_limit must not be negative: {idle}", next_step="use seconds, 0 for no limit"
            )
        size, action = _log_limit(log)
        signal, seconds = _warning(warning)
        if signal and 0 < time_limit <= seconds:
            raise ConfigurationError(
                f"the warning would come before the job starts: {seconds:g} s before a time_limit of {time_limit:g} s",
                next_step="give a shorter time in `warning`, or raise `time_limit`",
            )
        return cls(idle, size, action, signal, seconds)

    @classmethod
    def parse(cls, spec: Mapping[str, str]) -> Limits:
        """Those of an attempt, from values of its spec."""
        idle, log, warning = (number(spec.get(name)) or 0 for name in ("idle_limit", "log_limit", "warning_time"))
        return cls(idle, log * 1000, spec.get("log_action") or "end", spec.get("warning_signal", ""), warning)

    def spec_lines(self) -> list[str]:
        """The lines of the file `spec`; none for what is not limited. The size is in kB, see supervisor/limits.sh."""
        lines = []
        if self.idle:
            lines.append(f"idle_limit={min(math.ceil(self.idle), _MOST)}")
        if self.log:
            lines += [f"log_limit={min(math.ceil(self.log / 1000), _MOST)}", f"log_action={self.log_action}"]
        if self.warning_signal:
            lines += [f"warning_signal={self.warning_signal}", f"warning_time={math.ceil(self.warning)}"]
        return lines


def _log_limit(value: Any) -> tuple[int, str]:
    """From bytes, (bytes, action), or text such as "1000000 truncate"."""
    if isinstance(value, str):
        words: list[Any] = value.split()
        words[:1] = [int(word) for word in words[:1] if re.fullmatch("[0-9]{1,15}", word)] or words[:1]
    else:
        words = list(value) if isinstance(value, (tuple, list)) else [value]
    if not words or words == [0]:
        return 0, "end"
    size, action = (*words, "end")[:2]
    if len(words) <= 2 and type(size) is int and size > 0 and action in LOG_ACTIONS:
        return size, action
    raise ConfigurationError(
        f"log_limit must be a size in bytes: {value!r}",
        next_step='use bytes, or bytes and what happens then: (10_000_000, "end") or (10_000_000, "truncate")',
    )


def _warning(value: Any) -> tuple[str, float]:
    """From None, or from a signal and seconds."""
    if value is None:
        return "", 0
    if isinstance(value, (tuple, list)) and len(value) == 2:
        name = str(getattr(value[0], "name", value[0])).removeprefix("SIG")
        seconds = value[1].total_seconds() if isinstance(value[1], timedelta) else value[1]
        if name in _SIGNALS and type(seconds) in (int, float) and 1 <= seconds < _LONGEST_WARNING:
            return name, seconds
    raise ConfigurationError(
        f"warning must be a signal and seconds: {value!r}",
        next_step=f'use a signal and seconds, such as ("USR1", 120); signals are {", ".join(_SIGNALS)}, '
        "and the time is from 1 to 65535 s",
    )
