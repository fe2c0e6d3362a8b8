"""Results of the checks, as data."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class Status(enum.Enum):
    """Status of one check."""

    OK = "ok"
    NOTE = "note"
    """Jobs can run, but something can be improved or should be known."""
    FAIL = "fail"
    UNKNOWN = "unknown"
    """The check was not possible."""


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One line of the report. `measured` holds the figures: times in seconds, sizes in bytes."""

    check: str
    status: Status
    text: str
    remedy: str = ""
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A setting for `[sshjob]` that suits the host better than the current one, with the reason."""

    name: str
    value: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All results for one host. `reachable` is false if the login or the first requests failed."""

    host: str
    results: tuple[CheckResult, ...]
    recommendations: tuple[Recommendation, ...] = ()
    reachable: bool = True

    @property
    def exit_status(self) -> int:
        """0 if no check failed, 1 if one failed, 3 if the host is not reachable."""
        if not self.reachable:
            return 3
        return int(any(result.status is Status.FAIL for result in self.results))
