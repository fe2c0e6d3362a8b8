"""Arguments and responses of the verbs on jobs, without I/O; see remote/server/state.sh."""

from __future__ import annotations

from collections.abc import Mapping

from luigi_sshjob.jobs.model import JobRef, JobStatus, State, tag_of
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts, parse_facts
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

# bytes; `write_status` sends whole blocks, at most a piece of them
_BLOCK = 1024
_PIECE = 1024 * _BLOCK
# the state of a job that is judged by the client, see jobs/scheduled/
_SCHEDULED = "scheduled"


def offset_word(offset: int | None) -> str:
    """Return the argument for a log from `offset` on, or for no log."""
    return "-" if offset is None else str(_block(offset))


def overlap(offset: int) -> int:
    """Return how many bytes before `offset` are read again: at least one, to notice that the log was truncated."""
    return offset - _block(offset) * _BLOCK


def _block(offset: int) -> int:
    return max(0, offset - 1) // _BLOCK


def watch_words(job: JobRef, offset: int, known: JobStatus | None, more: bool) -> tuple[str, ...]:
    """Return the arguments of `subscribe` in remote/server/watch.sh after the number of the subscription."""
    state = known.state.value if known else ""
    name = f"{tag_of(job.key)}_{job.attempt}"
    return (
        job.directory,
        name,
        offset_word(offset),
        _SCHEDULED if known and known.scheduled else state,
        "yes" if more else "",
    )


def status_of(response: Response, offset: int | None) -> JobStatus:
    """Parse a response about one job whose log was requested from `offset` on."""
    return parse_status({part.kind: part for part in response.parts}, offset)


def parse_status(parts: Mapping[str, ResponsePart], offset: int | None) -> JobStatus:
    """Parse the parts about one job, by their kinds."""
    word, text = parts["state"].value, _text(parts, "state")
    facts = parse_facts_of(parts, "state") if word == _SCHEDULED else None
    # until it is judged, see jobs/scheduled/
    state = State(word) if facts is None else State.RUNNING if facts.started else State.QUEUED
    text = "" if facts else text
    outcome = None
    if state is State.ENDED:
        outcome = Outcome.parse(text)
        if outcome is None:
            # the record was removed while the host read it; the next request shows what happened
            state, text = State.UNKNOWN, "its exit record could not be read"
    elif state is State.LOST:
        outcome = Outcome.lost(text, proved_dead="dead" in parts)
    return JobStatus(
        state=state,
        reason="" if outcome else text,
        # of a scheduler's job it is known when it is judged
        queue_reason=text if state is State.QUEUED else "",
        outcome=outcome,
        progress=parts["progress"].content.decode("utf-8", "replace").rstrip("\n") if "progress" in parts else "",
        log=parts["log"].content[overlap(offset or 0) :] if "log" in parts else b"",
        known_log=parts["log"].content[: overlap(offset or 0)] if "log" in parts else None,
        more="log" in parts and len(parts["log"].content) >= _PIECE,
        running_for=int(parts["seconds"].value) if "seconds" in parts else None,
        scheduled=facts,
    )


def parse_facts_of(parts: Mapping[str, ResponsePart], kind: str) -> ScheduledFacts:
    """Parse the parts about a scheduler's job; the one of that kind has the facts."""
    moment, _, session = parts["submission"].value.partition(" ")
    return parse_facts(_text(parts, kind), _text(parts, "submission"), _text(parts, "unsettled"), int(moment), session)


def _text(parts: Mapping[str, ResponsePart], kind: str) -> str:
    return quoting.decode(parts[kind].content).rstrip("\n") if kind in parts else ""
