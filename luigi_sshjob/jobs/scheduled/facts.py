"""What the host of a scheduler's job knows about it, see remote/scheduler/state.sh. No I/O."""

from __future__ import annotations

import dataclasses

from luigi_sshjob.jobs.launchers.scheduler import Answer, Scheduler, Submitted


@dataclasses.dataclass(frozen=True)
class Submission:
    """The last submission of an attempt. `answer` is None if what was printed is not known, yet or any more."""

    number: int
    submitted: Submitted
    count: int
    adopted_id: str = ""
    """The id that was found without the answer; of the array's element."""
    answer: Answer | None = None


@dataclasses.dataclass(frozen=True)
class ScheduledFacts:
    """Facts about a job without an exit record."""

    scheduler: str
    moment: int
    """What the host had begun to ask the scheduler before, see `SchedulerView`."""
    session: str = ""
    """The session of the host that counts the moments."""
    started: bool = False
    """Whether a supervisor has claimed the run."""
    submitting: bool = False
    supervisor_id: str = ""
    """The id of the scheduler's job whose supervisor has claimed the run."""
    machine: str = ""
    restarts: int = 0
    cancelled_by: str = ""
    diagnostic: str = ""
    """The last line that a supervisor which could not start has written."""
    submission: Submission | None = None
    unsettled: str = ""
    """The record of a supervisor that was ended and does not know why."""


def job_id_of(scheduler: Scheduler, facts: ScheduledFacts) -> str:
    """The id of the scheduler's job: of the one that runs, or else of the last that was submitted; empty if unknown."""
    submission = facts.submission
    if facts.supervisor_id or submission is None:
        return facts.supervisor_id
    if submission.adopted_id:
        return submission.adopted_id
    made = scheduler.submitted_id(submission.answer) if submission.answer else None
    index = submission.submitted.index
    return scheduler.element(made, index) if made and index is not None else made or ""


def parse_facts(text: str, submission: str, unsettled: str, moment: int, session: str = "") -> ScheduledFacts:
    """Parse the texts of the parts `state`, `submission` and `unsettled`."""
    fields, _ = _fields(text)
    return ScheduledFacts(
        scheduler=fields.get("scheduler", ""),
        moment=moment,
        session=session,
        started="started" in fields,
        submitting="submitting" in fields,
        supervisor_id=fields.get("id", ""),
        machine=fields.get("machine", ""),
        restarts=_number(fields.get("restarts")),
        cancelled_by=fields.get("cancelled", ""),
        diagnostic=fields.get("diagnostic", ""),
        submission=_parse_submission(submission),
        unsettled=unsettled.rstrip("\n"),
    )


def parse_submitted(text: str) -> Submitted | None:
    """How a submission can be found, from its text; None if there is none."""
    submission = _parse_submission(text)
    return submission.submitted if submission else None


def parse_answer(text: str) -> tuple[Answer | None, dict[str, str]]:
    """Parse what `answer` in remote/scheduler/commands.sh writes: the answer, and the fields before it."""
    fields, rest = _fields(text)
    if "status" not in fields:
        return None, fields
    status = fields["status"]
    output = {mark: "".join(f"{line[1:]}\n" for line in rest if line.startswith(mark)) for mark in "oe"}
    return Answer(int(status) if status.isdecimal() else None, output["o"], output["e"]), fields


def _fields(text: str) -> tuple[dict[str, str], list[str]]:
    """The fields up to `status`, and the lines after it."""
    fields: dict[str, str] = {}
    lines = text.split("\n")
    for count, line in enumerate(lines, 1):
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        if name == "status":
            return fields, lines[count:]
    return fields, []


def _parse_submission(text: str) -> Submission | None:
    answer, fields = parse_answer(text)
    adopted = [line[4:] for line in text.split("\n") if line.startswith("id: ")]
    if "index" not in fields:
        # it was interrupted before anything was submitted
        return None
    index = fields["index"]
    return Submission(
        number=_number(fields["number"]),
        submitted=Submitted(
            fields["name"], fields["directory"], fields["tag"], int(index) if index.isdecimal() else None
        ),
        count=_number(fields["count"]),
        adopted_id=adopted[-1] if adopted else "",
        answer=answer,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
