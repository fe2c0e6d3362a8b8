"""The attempt that a retry follows, and the causes for which one is made. No I/O."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from luigi_sshjob.jobs.outcome import Outcome

CAUSES = ("lost", "preempted", "memory", "timed_out")

# the words of schedulers, see `Outcome.scheduler`
_NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")
_PREEMPTED = ("PREEMPTED", "EVICTED")
_NO_MEMORY = "OUT_OF_MEMORY"
# The file that keeps it is read up to 8 KiB, see remote/server/bounded.sh; a character may take six bytes.
_LONGEST_REASON = 500  # characters
_LONGEST_TEXT = 100

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "float | None": (int, float),
    "tuple[str, ...]": (list,),
}


def cause_of(outcome: Outcome) -> str:
    """One of `CAUSES`; empty for any other end, and for a lost attempt of which something may still run."""
    if outcome.state == "timed_out":
        return "timed_out"
    if outcome.state == "lost":
        if not outcome.proved_dead:
            return ""
        return "preempted" if outcome.scheduler in _PREEMPTED else "lost"
    if outcome.state not in ("killed", "failed"):
        return ""
    if outcome.scheduler in _PREEMPTED:
        return "preempted"
    if outcome.scheduler in _NODE_LOST:
        return "lost"
    # of a script whose program was killed, the shell makes exit code 137
    killed = outcome.signal == "KILL" or outcome.exit_code == 137
    if outcome.scheduler == _NO_MEMORY or outcome.out_of_memory == "job" or (outcome.out_of_memory and killed):
        return "memory"
    return ""


@dataclasses.dataclass(frozen=True)
class PreviousAttempt:
    """The attempt that a retry follows: `self.previous` of the task while it declares the retry."""

    attempt: int
    """Its number."""
    outcome: Outcome
    cause: str
    """Why it is followed by another one: "lost", "preempted", "memory" or "timed_out"."""
    used: Mapping[str, int]
    """The number of retries for each cause since the first attempt, with the one that follows it."""
    allowed: int
    """The number of retries for this cause."""

    @property
    def reason(self) -> str:
        """The reason of its outcome."""
        return self.outcome.reason

    @property
    def peak_memory(self) -> int | None:
        """Its peak memory in bytes; None if that is unknown."""
        return self.outcome.peak_memory

    @property
    def label(self) -> str:
        """Which retry follows it, for people: "lost 1/3"."""
        return f"{self.cause} {self.used.get(self.cause, 0)}/{self.allowed}"

    @classmethod
    def of(cls, attempt: int, outcome: Outcome, cause: str, used: Mapping[str, int], allowed: int) -> PreviousAttempt:
        """With long texts cut, so that it is what other processes read."""
        texts = {
            field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome) if field.type == "str"
        }
        short = {name: text[:_LONGEST_TEXT] for name, text in texts.items()} | {
            "reason": outcome.reason[:_LONGEST_REASON]
        }
        return cls(attempt, dataclasses.replace(outcome, **short), cause, used, allowed)

    def line(self) -> str:
        """As one line of text."""
        fields = dataclasses.asdict(self)
        fields["outcome"] = {name: value for name, value in fields["outcome"].items() if value not in (None, "")}
        return json.dumps(fields)

    @classmethod
    def parse(cls, line: str) -> PreviousAttempt | None:
        """The inverse of `line`; None for anything else."""
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            # NaN equals nothing, not itself either
            fields = json.loads(line, parse_constant=int)
            used = {str(cause): int(number) for cause, number in fields["used"].items()}
            attempt, allowed = int(fields["attempt"]), int(fields["allowed"])
            return cls(attempt, _outcome(fields["outcome"]), str(fields["cause"]), used, allowed)
        return None


class OtherPrevious(Exception):
    """The attempt that was found is a retry of `previous`, or none, and not what was submitted."""

    def __init__(self, previous: PreviousAttempt | None):
        super().__init__(previous)
        self.previous = previous


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    """Of this version or another one: fields with an unknown name or of another type are ignored."""
    known: dict[str, Any] = {}
    for field in dataclasses.fields(Outcome):
        value = fields.get(field.name)
        # the types of fields are text here
        kinds = _KINDS.get(str(field.type), (int,))
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
            known[field.name] = tuple(map(str, value)) if isinstance(value, list) else value
    return Outcome(**known)
