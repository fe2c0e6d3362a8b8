"""Exit records of jobs that have ended without one, as far as their scheduler knows why. No I/O."""

from __future__ import annotations

from luigi_sshjob.jobs.launchers.scheduler import Scheduler, SchedulerRow
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts, Submission

_EXIT_CODES = {"cancelled": 143, "killed": 137}


def text_of(outcome: Outcome, submission: Submission | None = None) -> str:
    """The text of an exit record; the host adds the size of the log."""
    fields = {
        "job": submission.submitted.name if submission and submission.submitted.index is None else "",
        "outcome": outcome.state,
        "exit_code": "" if outcome.exit_code is None else str(outcome.exit_code),
        "signal": outcome.signal,
        "reason": outcome.reason.replace("\n", " "),
        "scheduler": outcome.scheduler,
        "proved_dead": "yes" * outcome.proved_dead,
    }
    optional = ("job", "proved_dead")
    return "\n".join(f"{name}: {value}" for name, value in fields.items() if name not in optional or value)


def exit_code_of(record: str) -> str:
    """The exit code in the text of a record, empty if there is none."""
    return next((line[11:] for line in record.splitlines() if line.startswith("exit_code: ")), "")


def settled_record(scheduler: Scheduler, job_id: str, facts: ScheduledFacts, row: SchedulerRow | None) -> str:
    """The record of a job that is over; `row` is the last that the scheduler has said about it."""
    state, reason = _end(scheduler, job_id, facts, row)
    word = row.state.split(maxsplit=1)[0] if row else ""
    if facts.unsettled:
        return _completed(facts.unsettled, state, reason, word, row)
    code, signal = _EXIT_CODES.get(state), "KILL" if state == "killed" else ""
    # it is declared lost only after the scheduler was told to end it, see doubt.py
    outcome = Outcome(state, code, signal, reason, scheduler=word, proved_dead=state == "lost")
    return text_of(outcome, facts.submission)


def _end(scheduler: Scheduler, job_id: str, facts: ScheduledFacts, row: SchedulerRow | None) -> tuple[str, str]:
    if facts.cancelled_by:
        return "cancelled", f"by {facts.cancelled_by}"
    if row is None:
        return "lost", f"{scheduler.title} no longer knows job {job_id}{_unseen(facts, '')}"
    why = f" ({row.reason})" if row.reason else ""
    nodes = f" on {row.nodes}" if row.nodes else ""
    unseen = _unseen(facts, row.nodes) if row.outcome == "lost" else ""
    return row.outcome, f"{scheduler.title} reports {row.state}{why} for job {job_id}{nodes}{unseen}"


def _unseen(facts: ScheduledFacts, nodes: str) -> str:
    if facts.started:
        return ""
    if facts.diagnostic:
        return f"; its supervisor did not start: {facts.diagnostic}"
    return f"; its supervisor did not start, perhaps because {nodes or 'the node'} does not have the base directory"


def _completed(unsettled: str, state: str, reason: str, word: str, row: SchedulerRow | None) -> str:
    """The supervisor's own record, with what the scheduler adds."""
    adds = row is not None and not row.finished and word != "FAILED"
    lines = []
    for line in unsettled.split("\n"):
        name, _, value = line.partition(": ")
        if line == "outcome: killed" and state in ("cancelled", "timed_out"):
            line = f"outcome: {state}"
        elif name in ("reason", "reason:") and adds:
            line = f"reason: {value}{'; ' if value else ''}{reason}\nscheduler: {word}"
        lines.append(line)
    return "\n".join(lines)
