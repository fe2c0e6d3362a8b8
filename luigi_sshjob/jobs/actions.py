"""What a client does about a job that it watches. No I/O."""

from __future__ import annotations

import dataclasses
import enum


class Act(enum.Enum):
    """Each is idempotent."""

    LAUNCH = "launch"  # again; with a scheduler after the submission `number`, in arrays of at most `batch`
    ADOPT = "adopt"  # note the id `text` for the submission `number`
    CANCEL = "cancel"  # have `scheduler` end the job `text`, which it does not know or calls over
    SETTLE = "settle"  # write the record `text` of a job that has ended without one


@dataclasses.dataclass(frozen=True)
class Action:
    """One step, with its arguments."""

    act: Act
    text: str = ""
    number: int = 0
    batch: int = 0
    scheduler: str = ""
