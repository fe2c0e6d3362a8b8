"""The verbs on jobs, each one round trip: submit, poll, cancel, collect, remove."""

from __future__ import annotations

import dataclasses
import getpass
import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from luigi_sshjob import shell
from luigi_sshjob.errors import JobMismatch, RemoteCommandFailed, SSHJobError
from luigi_sshjob.job import JobRef, Observation, Outcome, State
from luigi_sshjob.launchers import Launcher
from luigi_sshjob.request import JobRequest
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.remote_shell import Answer, Part

_BLOCK = 65536  # bytes; `job_poll` in remote/jobs.sh reads whole ones


def whoami() -> str:
    """Who asks, from where: for records that people read."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"


@dataclasses.dataclass(frozen=True)
class Submission:
    """The attempt that a request led to, and whether it was there before."""

    job: JobRef
    attached: bool


class JobControl:
    """Jobs of one host below one base directory. Holds no state: the host's record is all there is."""

    def __init__(self, connection: Connection, base_dir: str, launcher: Launcher):
        self._connection = connection
        self._base = shell.quote_path(base_dir.rstrip("/") or "/")
        self._launcher = launcher

    def submit(self, request: JobRequest) -> Submission:
        """Starts the job, or attaches to the attempt of this task that nobody has collected.

        May be repeated after any doubt: the host claims an attempt once and runs it once. Raises
        `JobMismatch` where such an attempt is running but was asked for differently; one that has ended is
        then nobody's any more, and the next one begins.
        """
        while True:
            kind, job, digests = self._claim(request)
            if kind == "claimed":
                return Submission(job, attached=False)
            if digests == request.digests:
                return Submission(job, attached=True)
            if not self.look(job).state.final:
                raise self._mismatch(job, digests, request.digests)
            self.collect(job)

    def relaunch(self, job: JobRef) -> None:
        """For a claim that no supervisor has taken up; one that has been taken up is not run again."""
        self._check(
            job,
            "job_relaunch",
            self._base,
            shell.supervisor_hash(),
            self._launcher.name,
            shell.quote(job.directory),
        )

    def poll(self, watched: Sequence[tuple[JobRef, int | None]]) -> list[Observation]:
        """One look at all of them: each job with the offset in bytes from where its log is wanted, None for no log."""
        words: list[str] = []
        for job, offset in watched:
            words += job.directory, "-" if offset is None else str(offset // _BLOCK)
        parts: list[dict[str, Part]] = [{} for _ in watched]
        for part in self._connection.check("job_poll", *words).parts:
            parts[part.index][part.kind] = part
        return [_observation(found, offset) for found, (_, offset) in zip(parts, watched, strict=True)]

    def look(self, job: JobRef) -> Observation:
        """How one job stands, without its log."""
        return self.poll([(job, None)])[0]

    def cancel(self, job: JobRef, grace: float) -> State:
        """Asks the host to end the job, and says how it stood then. To be repeated until it has ended."""
        answer = self._check(job, "job_cancel", job.directory, str(round(grace)), whoami())
        return State(answer.text)

    def collect(self, job: JobRef) -> None:
        """Marks the outcome as taken over; the next `submit` is a new attempt."""
        self._check(job, "job_collect", job.directory, whoami())

    def remove(self, job: JobRef) -> None:
        """Removes a collected attempt, but not what a task shows as its output."""
        self._check(job, "job_remove", job.directory)

    def latest(self, key: str) -> JobRef | None:
        """The newest attempt of a task, whatever its state."""
        text = self._connection.check("job_latest", self._base, key).text
        return self._ref(key, *text.split(" ", 1)) if text else None

    def list(self) -> Iterable[tuple[JobRef, State, str]]:
        """Every attempt on the host with its state and, where that needs one, a reason."""
        parts = self._connection.check("job_list", self._base).parts
        for listed, reason in zip(parts[::2], parts[1::2], strict=True):
            directory = shell.decode(listed.content)[:-1]
            _, key, attempt = directory.rsplit("/", 2)
            yield self._ref(key, attempt, directory), State(listed.value), shell.decode(reason.content)[:-1]

    def _claim(self, request: JobRequest) -> tuple[str, JobRef, str]:
        words = (
            self._base,
            request.key,
            self._launcher.name,
            shell.supervisor_hash(),
            request.digests,
            request.spec_text(),
            request.command,
            request.environment_text(),
        )
        text = self._base_checked("job_submit", *words).text
        if text == "uninstalled":
            files = [word for item in shell.supervisor().items() for word in item]
            self._base_checked("install_supervisor", self._base, shell.supervisor_hash(), *files)
            text = self._base_checked("job_submit", *words).text
        kind, attempt, rest = text.split(" ", 2)
        # a directory may hold a newline, digests do not
        directory, _, digests = rest.rpartition("\n") if kind == "found" else (rest, "", "")
        return kind, self._ref(request.key, attempt, directory), digests

    def _base_checked(self, verb: str, *words: str) -> Answer:
        try:
            return self._connection.check(verb, *words)
        except RemoteCommandFailed as error:
            error.next_step = (
                f"make {self._base} a directory that the account on {self._connection.host} owns and can write, "
                "or set base_dir; nothing was submitted"
            )
            raise

    def _check(self, job: JobRef, verb: str, *words: str) -> Answer:
        try:
            return self._connection.check(verb, *words)
        except SSHJobError as error:
            error.job = job.id
            raise

    def _ref(self, key: str, attempt: str, directory: str) -> JobRef:
        return JobRef(self._connection.host, key, int(attempt), directory)

    def _mismatch(self, job: JobRef, there: str, asked: str) -> JobMismatch:
        command, circumstances = (a != b for a, b in zip(there.split(), asked.split(), strict=True))
        what = " and ".join(["command"] * command + ["environment, working directory or outputs"] * circumstances)
        return JobMismatch(
            f"it is running with another {what} (there {_short(there)}, asked for {_short(asked)})",
            host=job.host,
            job=job.id,
            next_step=f"wait for it, or end it with `luigi-sshjob kill {job.host} {job.id}` and run the task again",
        )


def _short(digests: str) -> str:
    return "/".join(digest[:8] for digest in digests.split())


def _observation(found: Mapping[str, Part], offset: int | None) -> Observation:
    state = State(found["state"].value)
    text = shell.decode(found["state"].content).rstrip("\n")
    outcome = None
    if state is State.ENDED:
        outcome = Outcome.parse(text)
    elif state is State.LOST:
        outcome = Outcome.lost(text)
    return Observation(
        state=state,
        reason="" if outcome else text,
        outcome=outcome,
        progress=found["progress"].content.decode("utf-8", "replace").rstrip("\n") if "progress" in found else "",
        # the host sends whole blocks; the beginning of the first may be known
        log=found["log"].content[(offset or 0) % _BLOCK :] if "log" in found else b"",
    )
