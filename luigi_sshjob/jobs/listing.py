"""Listing, inspection and removal of jobs on a host."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from luigi_sshjob.errors import JobError, RemoteCommandFailed
from luigi_sshjob.jobs.details import JobDetails, details_of
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.names import AttemptName, parse_names, parse_times
from luigi_sshjob.jobs.numbers import number
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.jobs.protocol import parse_status
from luigi_sshjob.jobs.scheduled.once import SendOne, look
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.errors import SendRequests, refused, send_one
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart, request_text

T = TypeVar("T")

BATCH = 200
"""Attempts of one request: it takes a moment, and its response is below a MiB."""

_TAIL = 500  # bytes


@dataclasses.dataclass(frozen=True)
class JobSummary:
    """One attempt. Ages are seconds by the host's clock, None if unknown."""

    job: JobRef
    status: JobStatus
    collected: str = ""
    """Who collected the outcome; empty if it was not collected."""
    tail: str = ""
    """The end of the log."""
    submitted_ago: float | None = None
    since: float | None = None
    """Age of the current state: since the submission, the start or the end."""
    collected_ago: float | None = None
    previous: PreviousAttempt | None = None
    """What it is a retry of."""

    @property
    def state(self) -> State:
        """The state in its status."""
        return self.status.state

    @property
    def status_word(self) -> str:
        """The outcome in one word, or the state if the job has not ended."""
        outcome = self.status.outcome
        return outcome.state if outcome else self.state.value

    @property
    def last_line(self) -> str:
        """The last line of the log that is not blank."""
        return next((line.strip() for line in reversed(re.split(r"[\r\n]+", self.tail)) if line.strip()), "")


class JobListing:
    """The jobs of one host below one base directory."""

    def __init__(self, connection: Connection, base_dir: str):
        self._connection = connection
        self._base = quoting.directory_word(base_dir)

    def session(self) -> AbstractContextManager[SendRequests]:
        """A session of its own for the other methods, so that no request of a task waits for theirs.

        The host remembers in it when it last queried a scheduler. Each response must arrive within request_timeout.
        """
        return self._connection.dedicated_shell()

    def names(self, send: SendRequests) -> list[AttemptName]:
        """Every attempt on the host: first those that have not ended, then the others, the last changed first."""
        response = send_one(send, self._connection.host, "job_names", self._base)
        layout = scripts.layout()
        with reading_response("job_names", self._connection.host):
            (part,) = response.parts
            marks = layout["SJ_RECORD"], layout["SJ_COLLECTED"], layout["SJ_FORGOTTEN"]
            return parse_names(quoting.decode(part.content), number(part.value) or 0, *marks)

    def survey(self, names: Sequence[AttemptName], send: SendRequests, tail: int = _TAIL) -> list[JobSummary]:
        """The status of these attempts, without those removed meanwhile, and `tail` bytes from the end of their logs.

        Sends a request for each `BATCH` of them.
        """
        found = []
        for batch in batches(names):
            ids = [name.id for name in batch]
            response = send_one(send, self._connection.host, "job_survey", self._base, tail, *ids)
            with reading_response("job_survey", self._connection.host):
                found += self._summaries(response.parts)
        with reading_response("job_survey", self._connection.host):
            return self._judged(found, lambda words: send([request_text(*words)])[0])

    def attempts(self) -> list[JobSummary]:
        """Every attempt on the host."""
        with self.session() as send:
            return self.survey(self.names(send), send)

    def details(self, job: JobRef) -> JobDetails:
        """All details of an attempt."""
        response = self._connection.request("job_show", job.directory)
        with reading_response("job_show", self._connection.host):
            (summary,) = self._judged(self._summaries(response.parts), lambda words: self._connection.request(*words))
            return details_of(response.parts, summary)

    def discard(self, jobs: Sequence[JobRef]) -> None:
        """Remove collected attempts with all their files except published outputs.

        Raises `JobError` for an attempt that was not removed; the others have been removed then.
        """
        with self.session() as send:
            for refusal in self.discard_each(jobs, send).values():
                raise refusal

    def discard_each(self, jobs: Sequence[JobRef], send: SendRequests) -> dict[JobRef, JobError]:
        """As `discard`, but returns the errors."""
        refusals = {}
        for batch in batches(jobs):
            requests = [request_text("job_set_aside", job.directory) for job in batch]
            *responses, last = send([*requests, "job_discard_aside"])
            if last.status != 0:
                raise refused("job_discard_aside", last, self._connection.host)
            for job, response in zip(batch, responses, strict=True):
                if response.status != 0:
                    refusals[job] = _not_removed(job, refused("job_set_aside", response, self._connection.host))
        return refusals

    def _judged(self, summaries: Sequence[JobSummary], send: SendOne) -> list[JobSummary]:
        """With what schedulers say about their jobs."""
        schedulers = Schedulers(self._connection.settings.scheduler_interval)
        statuses = look(schedulers, {summary.job: summary.status for summary in summaries}, send)
        return [dataclasses.replace(summary, status=statuses[summary.job]) for summary in summaries]

    def _summaries(self, parts: Iterable[ResponsePart]) -> list[JobSummary]:
        found: dict[int, dict[str, ResponsePart]] = {}
        times, now = "", ""
        for part in parts:
            if part.kind == "times":
                times, now = quoting.decode(part.content), part.value
            else:
                found.setdefault(part.index, {})[part.kind] = part
        known = parse_times(times)
        return [self._summary(each, known, number(now)) for each in found.values() if "state" in each]

    def _summary(
        self, parts: Mapping[str, ResponsePart], times: Mapping[str, Mapping[str, int]], now: int | None
    ) -> JobSummary:
        directory = quoting.decode(parts["directory"].content)[:-1]
        _, key, attempt = directory.rsplit("/", 2)
        status = parse_status(parts, None)
        files, layout = times.get(f"{key}/{attempt}", {}), scripts.layout()

        def ago(*names: str) -> float | None:
            found = next((files[layout[name]] for name in names if layout[name] in files), None)
            return None if found is None or now is None else float(max(0, now - found))

        since = {State.ENDED: ("SJ_RECORD", "SJ_COLLECTED"), State.LOST: ("SJ_LOG",), State.CLAIMED: ("SJ_SPEC",)}
        return JobSummary(
            job=JobRef(self._connection.host, key, int(attempt), directory),
            status=status,
            collected=_collector(parts["collected"]) if "collected" in parts else "",
            tail=parts["tail"].content.decode("utf-8", "replace") if "tail" in parts else "",
            submitted_ago=ago("SJ_SPEC"),
            since=ago(*since.get(status.state, ("SJ_STARTED", "SJ_SPEC"))),
            collected_ago=ago("SJ_COLLECTED"),
            previous=PreviousAttempt.parse(quoting.decode(parts["retry"].content)) if "retry" in parts else None,
        )


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items in pieces of at most `BATCH`."""
    return (items[first : first + BATCH] for first in range(0, len(items), BATCH))


def _collector(mark: ResponsePart) -> str:
    # on a full disk the mark is an empty file
    return quoting.decode(mark.content).strip().removeprefix("collected_by: ") or "unknown"


def _not_removed(job: JobRef, error: RemoteCommandFailed) -> JobError:
    return JobError(
        f"the attempt was not removed: {error.problem}",
        host=job.host,
        job=job.id,
        next_step=f"see `{shlex.join(['luigi-sshjob', 'show', job.host, job.id])}`; the others have been removed",
    )
