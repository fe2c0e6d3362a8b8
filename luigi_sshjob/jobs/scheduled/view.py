"""What a scheduler has said about its jobs to one session of a host. No I/O."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from luigi_sshjob.jobs.launchers.scheduler import Answer, Scheduler, SchedulerRow, Submitted, Unreadable
from luigi_sshjob.jobs.scheduled.facts import parse_answer
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

KINDS = ("listing", "query", "history")

_UNANSWERED = 120.0  # the shortest `patience`, in seconds


@dataclasses.dataclass(frozen=True)
class Sighting:
    """What one answer says about one job: its row, or None if the scheduler denies knowing it.

    The question began after everything that the host knew at an earlier `moment`, and before anything later.
    """

    moment: int
    row: SchedulerRow | None


class SchedulerView:
    """The last answers of one scheduler. Each session of a host counts its own moments, so a view ends with it.

    `interval` is the pause between two questions to the scheduler, in seconds.
    """

    def __init__(self, scheduler: Scheduler, interval: float):
        self.scheduler = scheduler
        self.patience = max(_UNANSWERED, 3 * interval)
        """Seconds without an answer after which nothing is known about its jobs."""
        self.listed_at = 0
        """The moment of the last listing that could be read; 0 if there is none."""
        self.error = ""
        """Why the last attempt to get a listing failed; empty if it did not."""
        self._interval = interval
        self._began = time.monotonic()
        # when the last listing that could be read, and the last in any case, was asked for
        self._read_since = self._answered_since = -math.inf
        self._known = dict.fromkeys(KINDS, 0)
        self._rows: dict[str, SchedulerRow] = {}
        self._queried: dict[str, Sighting] = {}
        self._past: dict[str, Sighting] = {}
        self._asked: dict[str, float] = {}

    def request(self, base: str, ids: Sequence[str]) -> tuple[str, ...]:
        """The verb and arguments that ask for answers newer than those of this view, also about these ids."""
        scheduler = self.scheduler
        lines = (scheduler.listing, scheduler.query, scheduler.history)
        dropped = " ".join(scheduler.dropped_variables)
        known = (str(self._known[kind]) for kind in KINDS)
        self._asked.update(dict.fromkeys(ids, time.monotonic()))
        return (
            "scheduler_answers",
            quoting.quote_path(base),
            scheduler.name,
            str(max(1, round(self._interval))),
            dropped,
            *lines,
            *known,
            *ids,
        )

    def update(self, response: Response) -> None:
        """Take the answers of a response."""
        for part in response.parts:
            if part.kind in KINDS and part.index > self._known[part.kind]:
                self._known[part.kind] = part.index
                self._take(part)

    @property
    def silent(self) -> bool:
        """Whether it is too long since the last listing, or since this view began."""
        return time.monotonic() - max(self._began, self._read_since) >= self.patience

    @property
    def fresh(self) -> bool:
        """Whether the last listing is not old, also if another client has asked for it."""
        return time.monotonic() - self._read_since < self.patience

    @property
    def answered(self) -> bool:
        """Whether the last answer to the question for a listing is not old, be it an error."""
        return time.monotonic() - self._answered_since < self.patience

    @property
    def queried_at(self) -> int:
        """The moment of the last answer to a query for ids."""
        return self._known["query"]

    def row(self, job_id: str) -> SchedulerRow | None:
        """The job in the last listing."""
        return self._rows.get(job_id)

    def sighting(self, job_id: str, submitted: Submitted | None) -> Sighting | None:
        """What the last query that concerned this id has found; a job of another submission is not it."""
        found = self._queried.get(job_id)
        return Sighting(found.moment, None) if found and self._is_foreign(found.row, submitted) else found

    def past(self, job_id: str, submitted: Submitted | None) -> Sighting | None:
        """The job in the accounting."""
        found = self._past.get(job_id)
        return None if found and self._is_foreign(found.row, submitted) else found

    def asked_at(self, job_id: str) -> float:
        """When it was last asked for (`time.monotonic()`)."""
        return self._asked.get(job_id, 0.0)

    def find(self, submitted: Submitted) -> SchedulerRow | None:
        """The job, or the array's element, of a submission in the last listing; one that is not over comes first."""
        found = [row for row in self._rows.values() if self.scheduler.is_from(row, submitted)]
        return min(found, key=lambda row: row.phase.value == "over", default=None)

    def _is_foreign(self, row: SchedulerRow | None, submitted: Submitted | None) -> bool:
        return bool(row and submitted and not self.scheduler.is_from(row, submitted))

    def _take(self, part: ResponsePart) -> None:
        answer, fields = parse_answer(quoting.decode(part.content))
        if answer is None:
            return
        asked_at = time.monotonic() - float(part.value)
        if part.kind == "listing":
            self._answered_since = asked_at
        ids = fields.get("ids", "").split()
        try:
            if part.kind == "listing":
                self._rows = {row.id: row for row in self.scheduler.parse_listing(_readable(answer))}
                self.listed_at, self.error, self._read_since = part.index, "", asked_at
            elif part.kind == "query":
                # what it has printed before a time limit is about single jobs
                known = self.scheduler.parse_query(answer, ids)
                self._queried.update((job_id, Sighting(part.index, row)) for job_id, row in known.items())
            else:
                rows = self.scheduler.parse_history(_readable(answer))
                self._past.update((row.id, Sighting(part.index, row)) for row in rows)
        except Exception as error:  # noqa: BLE001 - what no parser expects says nothing about jobs, either
            if part.kind != "history":
                self.error = str(error) if isinstance(error, Unreadable) else f"unexpected answer ({error!r})"


def _readable(answer: Answer) -> Answer:
    if answer.status is None:
        raise Unreadable(answer.message)
    return answer
