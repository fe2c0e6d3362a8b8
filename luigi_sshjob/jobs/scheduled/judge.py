"""Follows one job through its scheduler: its status, and what to do next. No I/O; times are `time.monotonic()` seconds.

The rules are those of the table in docs/job.rst: nothing is concluded from an absence.
"""

from __future__ import annotations

import dataclasses
import time

from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.launchers.scheduler import Phase, Scheduler, SchedulerRow, Submitted
from luigi_sshjob.jobs.model import JobStatus, State
from luigi_sshjob.jobs.scheduled import records
from luigi_sshjob.jobs.scheduled.doubt import Doubt
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts, job_id_of
from luigi_sshjob.jobs.scheduled.unsubmitted import UnsubmittedJob
from luigi_sshjob.jobs.scheduled.verdict import Verdict, judged
from luigi_sshjob.jobs.scheduled.view import SchedulerView, Sighting

_REPEAT = 10.0  # seconds after which an action without an effect is repeated


class ScheduledJob:
    """What a client knows about one job of a scheduler."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._first_seen: dict[str, int] = {}
        self._start_seen: dict[tuple[str, int], int] = {}
        self._unsubmitted = UnsubmittedJob(scheduler)
        self._doubt: Doubt | None = None
        self._unsettled: tuple[float, int] | None = None
        self._acted: tuple[Action | None, float] = (None, 0.0)
        self.asks: tuple[str, ...] = ()
        """The ids to ask the scheduler for."""

    def judge(self, status: JobStatus, view: SchedulerView) -> Verdict:
        """Judge a status of the host, in the light of what the scheduler has said."""
        facts = status.scheduled
        assert facts is not None
        if status.log:
            # it is alive, whatever the scheduler says
            self._doubt = None
        self.asks = ()
        job_id = job_id_of(self._scheduler, facts)
        if not job_id:
            return self._once(self._unsubmitted.judge(status, facts, view))
        if self._is_unexplained(job_id, facts, view):
            return self._once(Verdict(status, Action(Act.SETTLE, facts.unsettled)))
        if self._is_foreign(job_id, facts, view):
            return self._once(self._unsubmitted.judge(status, facts, view))
        return self._once(self._judge_known(job_id, status, facts, view))

    def _is_foreign(self, job_id: str, facts: ScheduledFacts, view: SchedulerView) -> bool:
        """Whether the id that was printed is not that of the job: a site may print numbers, or count from 1 again."""
        submitted = _submitted(facts)
        if submitted is None:
            return False
        row = view.row(job_id)
        if row:
            return not self._scheduler.is_from(row, submitted)
        found = view.find(submitted)
        return bool(found and found.phase is not Phase.OVER)

    def _is_unexplained(self, job_id: str, facts: ScheduledFacts, view: SchedulerView) -> bool:
        """Whether the supervisor has left its record, and the scheduler has not said for too long why it ended it."""
        now = time.monotonic()
        if not facts.unsettled:
            self._unsettled = None
            return False
        since, moment = self._unsettled = self._unsettled or (now, facts.moment)
        row = view.row(job_id) if view.listed_at > moment else None
        if row and (row.phase is Phase.WAITING or (row.phase is Phase.RUNNING and not view.silent)):
            # it is to run again
            self._unsettled = now, moment
            return False
        return now - since >= view.patience

    def _judge_known(self, job_id: str, status: JobStatus, facts: ScheduledFacts, view: SchedulerView) -> Verdict:
        first_seen = self._first_seen.setdefault(job_id, facts.moment)
        sighting = view.sighting(job_id, _submitted(facts))
        row = view.row(job_id)
        if sighting and sighting.moment > view.listed_at:
            row = sighting.row
        if row and row.hopeless and not row.reason:
            row = self._explain(row, sighting)
        if row is None and view.listed_at <= first_seen:
            self._doubt = None
            where = f" on {facts.machine}" if facts.started and facts.machine else ""
            state = State.RUNNING if facts.started else State.QUEUED
            status = judged(status, state, f"{self._scheduler.title} job {job_id}{where}")
        elif row is None or row.phase is Phase.OVER:
            return self._judge_missing(job_id, status, facts, row, view)
        else:
            self._doubt = None
            status = self._alive(status, facts, row, view)
        # without any answer only for a limited time, as a host that does not respond
        state = State.UNKNOWN if view.silent else status.state
        return Verdict(judged(status, state, status.reason, view))

    def _explain(self, row: SchedulerRow, sighting: Sighting | None) -> SchedulerRow:
        """A person must act, and the listing does not say about what: it is asked for, once."""
        known = sighting.row if sighting else None
        if known and known.state == row.state:
            return known
        self.asks = (row.id,)
        return row

    def _waits(self, facts: ScheduledFacts, row: SchedulerRow, view: SchedulerView) -> bool:
        """Whether it waits now: a listing from before its start says so, too."""
        start_seen = self._start_seen.setdefault((row.id, facts.restarts), facts.moment) if facts.started else 0
        return row.phase is Phase.WAITING and view.listed_at > start_seen

    def _alive(self, status: JobStatus, facts: ScheduledFacts, row: SchedulerRow, view: SchedulerView) -> JobStatus:
        words = [f"{self._scheduler.title} job {row.id}"]
        if self._waits(facts, row, view):
            words += ["requeued"] if facts.started else []
            words += [row.reason or row.state, *([f"expected to start {row.start}"] if row.start else [])]
            state = State.QUEUED
        else:
            nodes = row.nodes or facts.machine
            words[0] += f" on {nodes}" if nodes else ""
            words += [f"requeued ({facts.restarts})"] if facts.restarts else []
            words += [row.state] if row.phase is Phase.ENDING else []
            state = State.RUNNING if facts.started else State.QUEUED
        status = judged(status, state, ", ".join(words))
        return dataclasses.replace(status, queue_reason=row.reason or row.state, hopeless=row.hopeless)

    def _judge_missing(
        self, job_id: str, status: JobStatus, facts: ScheduledFacts, row: SchedulerRow | None, view: SchedulerView
    ) -> Verdict:
        """The listing lacks the job, or calls it over: it is asked for, and its record waited for."""
        self._doubt = self._doubt or Doubt(view)
        self.asks = (job_id,)
        submitted = _submitted(facts)
        row = self._doubt.weigh(view.sighting(job_id, submitted), view.past(job_id, submitted), row)
        if row and row.phase is not Phase.OVER:
            return Verdict(self._alive(status, facts, row, view))
        state = State.RUNNING if facts.started else State.QUEUED
        if self._doubt.silent_for >= view.patience:
            state = State.UNKNOWN
        word = row.state if row else "it is not in the queue any more"
        reason = f"{self._scheduler.title} job {job_id}: {word}; waiting for details of its end"
        status = judged(status, state, reason, view)
        act = self._doubt.next_act(facts, row)
        if act is Act.CANCEL:
            return Verdict(status, Action(act, job_id, scheduler=self._scheduler.name))
        if act is Act.SETTLE:
            return Verdict(status, Action(act, records.settled_record(self._scheduler, job_id, facts, row)))
        return Verdict(status)

    def _once(self, verdict: Verdict) -> Verdict:
        """Without an action that was begun a moment ago."""
        action, at = self._acted
        now = time.monotonic()
        if verdict.action and verdict.action == action and now - at < _REPEAT:
            return Verdict(verdict.status)
        if verdict.action:
            self._acted = (verdict.action, now)
        return verdict


def _submitted(facts: ScheduledFacts) -> Submitted | None:
    """How the job must be found; None if a supervisor has said which it is."""
    return facts.submission.submitted if facts.submission and not facts.supervisor_id else None
