"""Whether a job that its scheduler's listing lacks, or calls over, is over. No I/O; times are seconds."""

from __future__ import annotations

import time

from luigi_sshjob.jobs.actions import Act
from luigi_sshjob.jobs.launchers.scheduler import Phase, SchedulerRow
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts
from luigi_sshjob.jobs.scheduled.view import SchedulerView, Sighting

_DENIALS = 2  # answers about that very id without a living job, before it is cancelled to be sure; one more follows
_LATE_RECORD = 12.0  # in which a record may still arrive through a network file system
_FINISHED = 90.0  # the same for a job that nobody has ended, and that so has written its record


class Doubt:
    """Collects what is said about one job since its end was first suspected."""

    def __init__(self, view: SchedulerView):
        # older answers do not count
        self._from = max(view.queried_at, view.listed_at)
        self._denials: list[int] = []
        self._began = self._answered = time.monotonic()
        self._cancelled_after: int | None = None

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._began

    def weigh(
        self, sighting: Sighting | None, history: Sighting | None, row: SchedulerRow | None
    ) -> SchedulerRow | None:
        """Take new answers; returns the one that says most about the end. `row` is from the listing."""
        past = history.row if history and history.moment > self._from else None
        if sighting and sighting.moment > self._from:
            row = sighting.row
        if (row and row.phase is not Phase.OVER) or (past and past.phase is not Phase.OVER):
            # any one of them may be right
            self._denials.clear()
            self._cancelled_after = None
        elif sighting and sighting.moment > max([self._from, *self._denials]):
            self._denials.append(sighting.moment)
            self._answered = time.monotonic()
        # the accounting may know who has cancelled it
        return past if past and past.phase is Phase.OVER and (row is None or row.phase is Phase.OVER) else row

    @property
    def silent_for(self) -> float:
        """How long the scheduler has not said anything about the job."""
        return time.monotonic() - self._answered

    def next_act(self, facts: ScheduledFacts, row: SchedulerRow | None) -> Act | None:
        """What to do, CANCEL once and then SETTLE; None to wait."""
        if facts.unsettled:
            return Act.SETTLE if self._denials else None
        late = _FINISHED if row and row.finished and facts.started else _LATE_RECORD
        if self.seconds < late or len(self._denials) < _DENIALS:
            return None
        if self._cancelled_after is None:
            self._cancelled_after = len(self._denials)
            return Act.CANCEL
        return Act.SETTLE if len(self._denials) > self._cancelled_after else None
