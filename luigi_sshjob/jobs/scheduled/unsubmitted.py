"""Follows a job without an id of its scheduler: it is being submitted, was refused, or its id was lost. No I/O."""

from __future__ import annotations

import dataclasses
import time

from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.launchers.scheduler import Refusal, Scheduler
from luigi_sshjob.jobs.model import JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled import records
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts, Submission
from luigi_sshjob.jobs.scheduled.verdict import Verdict, judged
from luigi_sshjob.jobs.scheduled.view import SchedulerView

_PAUSES = (5.0, 60.0)  # seconds before a submission is repeated: the first and the longest pause
_LAUNCH = 30.0  # seconds after which a job that was not submitted yet is submitted again


class UnsubmittedJob:
    """What a client knows about one such job."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._since: dict[str, float] = {}

    def judge(self, status: JobStatus, facts: ScheduledFacts, view: SchedulerView) -> Verdict:
        """Judge a status of the host, in the light of what the scheduler has said."""
        title, submission = self._scheduler.title, facts.submission
        if facts.started:
            reason = f"it was started on {facts.machine or 'another machine'}; the id of its {title} job is unknown"
            return Verdict(judged(status, State.ELSEWHERE, reason))
        if facts.cancelled_by and not facts.submitting:
            # its client has died before it wrote the record
            outcome = Outcome("cancelled", 143, reason=f"by {facts.cancelled_by}, before it was started")
            return Verdict(status, Action(Act.SETTLE, records.text_of(outcome, submission)))
        waiting = judged(status, State.CLAIMED, facts.diagnostic or f"it is being submitted to {title}")
        if facts.submitting:
            self._since.pop("unsubmitted", None)
            return Verdict(waiting)
        if submission is None:
            due = self._for("unsubmitted") >= _LAUNCH
            return Verdict(waiting, Action(Act.LAUNCH) if due else None)
        if submission.answer is None or self._scheduler.submitted_id(submission.answer):
            return self._find(waiting, facts, submission, view)
        return self._judge_refusal(status, facts, submission, view)

    def _find(
        self, waiting: JobStatus, facts: ScheduledFacts, submission: Submission, view: SchedulerView, batch: int = 0
    ) -> Verdict:
        """A submission is repeated only after a later listing has shown that it was not made."""
        if view.listed_at <= facts.moment:
            reason = f"whether {self._scheduler.title} already has this job is unknown"
            return Verdict(judged(waiting, State.CLAIMED, reason, view))
        found = view.find(submission.submitted)
        if found:
            return Verdict(waiting, Action(Act.ADOPT, found.id, submission.number))
        return Verdict(waiting, Action(Act.LAUNCH, number=submission.number, batch=batch))

    def _judge_refusal(
        self, status: JobStatus, facts: ScheduledFacts, submission: Submission, view: SchedulerView
    ) -> Verdict:
        assert submission.answer
        message, count = submission.answer.message, submission.count
        if self._scheduler.refusal(submission.answer) is Refusal.FINAL:
            outcome = Outcome(
                "failed", reason=f"{self._scheduler.title} refused the job: {message}", scheduler="REFUSED"
            )
            return Verdict(
                judged(status, State.CLAIMED, outcome.reason), Action(Act.SETTLE, records.text_of(outcome, submission))
            )
        first, longest = _PAUSES
        pause = min(longest, first * 2.0 ** min(submission.number - 1, 8))
        due = self._for(f"refused {submission.number}") >= pause
        reason, batch = f"{self._scheduler.title}: {message}", 0
        if count > 1:
            batch = count // 2
            reason += f"; submitting at most {batch} of them together" if batch > 1 else "; submitting them one by one"
        status = dataclasses.replace(status, state=State.CLAIMED, reason=reason, queue_reason=message)
        if not due:
            return Verdict(status)
        # it may have been killed after the scheduler had accepted the job
        return Verdict(status, self._find(status, facts, submission, view, batch).action)

    def _for(self, what: str) -> float:
        """Seconds since it was first so."""
        now = time.monotonic()
        return now - self._since.setdefault(what, now)
