"""What an examination comes to: pure data."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class Verdict(enum.Enum):
    """Of one check."""

    OK = "ok"
    NOTE = "note"
    """It works; there is something to know, or to do better."""
    FAIL = "fail"
    UNKNOWN = "unknown"
    """The check could not be made, so nothing is said."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report. `measured` holds the figures in it: times in seconds, sizes in bytes."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Advice:
    """A setting of `[sshjob]` that would suit the host better than the one in force, and why."""

    name: str
    value: str
    why: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All of it. `answered`: whether the host let us in and told what it was asked."""

    host: str
    findings: tuple[Finding, ...]
    settings: tuple[Advice, ...] = ()
    answered: bool = True

    @property
    def exit_status(self) -> int:
        """0: all is well, 1: something does not work, 3: no answer."""
        if not self.answered:
            return 3
        return int(any(finding.verdict is Verdict.FAIL for finding in self.findings))


def seconds(value: float) -> str:
    """For people."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def size(value: int) -> str:
    """Bytes, for people."""
    number = float(value)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit in ("bytes", "KiB") else f"{number:.1f} {unit}"
