"""The requests to the host that carry out actions, see remote/scheduler/. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.launchers.registry import SCHEDULERS
from luigi_sshjob.jobs.launchers.scheduler import Scheduler
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.scheduled.records import exit_code_of
from luigi_sshjob.remote import quoting, scripts

_CALL_LIMIT = 30  # seconds for a command that signals or cancels a job


def action_request(job: JobRef, action: Action) -> tuple[str, ...]:
    """The verb and its arguments."""
    if action.act is Act.LAUNCH:
        words = (quoting.directory_word(job.base_directory), scripts.supervisor_hash(), job.directory)
        return ("job_relaunch", *words, str(action.number), str(action.batch or ""))
    if action.act is Act.ADOPT:
        return "job_adopt", job.directory, str(action.number), action.text
    if action.act is Act.SETTLE:
        return "job_settle", job.directory, exit_code_of(action.text), action.text
    scheduler = SCHEDULERS[action.scheduler]
    return ("scheduler_start", *_call(scheduler, scheduler.cancel, [action.text]))


def call_request(job: JobRef, scheduler: Scheduler, line: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The verb and its arguments for a command whose answer is wanted, in a session of its own."""
    return ("scheduler_call", quoting.directory_word(job.base_directory), *_call(scheduler, line, ids))


def _call(scheduler: Scheduler, line: str, ids: Sequence[str]) -> tuple[str, ...]:
    return str(_CALL_LIMIT), line, " ".join(scheduler.dropped_variables), " ".join(ids)
