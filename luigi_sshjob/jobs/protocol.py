"""What a host is asked of a job, and what it tells: `write_status` in remote/server/state.sh. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

_BLOCK = 1024  # bytes; `write_status` in remote/server/state.sh reads whole ones,
_PIECE = 1024 * _BLOCK  # and at most so many at once


def offset_word(offset: int | None) -> str:
    """From where a log is wanted; None: not at all."""
    return "-" if offset is None else str(offset // _BLOCK)


def watch_words(job: JobRef, offset: int, known: State | None, more: bool) -> tuple[str, ...]:
    """What `subscribe` in remote/server/watch.sh is told of a job, see `JobClient.watch`."""
    return job.directory, offset_word(offset), known.value if known else "", "yes" if more else ""


def status_of(response: Response, offset: int | None) -> JobStatus:
    """Parse a response about one job whose log was requested from `offset` on."""
    return parse_status({part.kind: part for part in response.parts}, offset)


def parse_status(found: Mapping[str, ResponsePart], offset: int | None) -> JobStatus:
    """What the parts of an answer, by their kinds, tell of a job whose log was asked for from `offset` on."""
    state = State(found["state"].value)
    text = quoting.decode(found["state"].content).rstrip("\n")
    outcome = None
    if state is State.ENDED:
        outcome = Outcome.parse(text)
        if outcome is None:
            # it vanished between two instructions of the host: to be asked again
            state, text = State.UNKNOWN, "its exit record could not be read"
    elif state is State.LOST:
        outcome = Outcome.lost(text)
    return JobStatus(
        state=state,
        reason="" if outcome else text,
        outcome=outcome,
        progress=found["progress"].content.decode("utf-8", "replace").rstrip("\n") if "progress" in found else "",
        # the host sends whole blocks; the beginning of the first may be known
        log=found["log"].content[(offset or 0) % _BLOCK :] if "log" in found else b"",
        more="log" in found and len(found["log"].content) >= _PIECE,
        running_for=int(found["seconds"].value) if "seconds" in found else None,
    )
