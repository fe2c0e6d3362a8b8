"""The attempts of a host by name, with the times that order them. No I/O."""

from __future__ import annotations

import dataclasses
import math
import re

_TIME = re.compile(r"(\d+) (\S+/\d+)/([^/\s]+)")
_LINE = re.compile(r"(\d+|-) ([^\s/]+)/(\d+)(?:/([^/\s]+))?")


@dataclasses.dataclass(frozen=True)
class AttemptName:
    """One attempt. Ages are seconds by the host's clock, None if unknown."""

    key: str
    attempt: int
    age: float | None = None
    """Since its end, or if it has no exit record since its directory was changed."""
    recorded: bool = False
    """Whether it has an exit record."""
    collected: bool = False
    """Whether it has the mark of a collected outcome, which somebody may have copied there."""
    collected_ago: float | None = None
    forgotten: bool = False
    """Whether a person has removed it from the listing."""

    @property
    def id(self) -> str:
        """Task and attempt."""
        return f"{self.key}/{self.attempt}"

    @property
    def ended(self) -> bool:
        """Whether its name shows that it has ended; one that is lost has neither a record nor a mark at first."""
        return self.recorded or self.collected


def parse_names(text: str, now: int, record: str, mark: str, forgotten: str) -> list[AttemptName]:
    """The attempts in the response to `job_names`: first those that have not ended, then the others, newest first.

    `record`, `mark` and `forgotten` are the names of the exit record and of the marks of a collected outcome and of an
    attempt that is not listed any more.
    """
    found: dict[tuple[str, int], dict[str | None, float | None]] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            age = None if match[1] == "-" else max(0.0, float(now - int(match[1])))
            found.setdefault((match[2], int(match[3])), {})[match[4]] = age
    names = [
        AttemptName(
            key,
            attempt,
            age=ages.get(record, ages.get(mark, ages.get(None))),
            recorded=record in ages,
            collected=mark in ages,
            collected_ago=ages.get(mark),
            forgotten=forgotten in ages,
        )
        for (key, attempt), ages in found.items()
    ]
    return sorted(names, key=_order)


def _order(name: AttemptName) -> tuple[bool, float, str, int]:
    return name.ended, math.inf if name.age is None else name.age, name.key, -name.attempt


def parse_times(text: str) -> dict[str, dict[str, int]]:
    """Modification times by KEY/ATTEMPT and file name."""
    times: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        match = _TIME.fullmatch(line)
        if match:
            times.setdefault(match[2], {})[match[3]] = int(match[1])
    return times
