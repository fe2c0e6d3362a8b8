"""The requests on jobs, each one round trip: submit, find, status, tail, collect, give up, remove."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import JobMismatch
from luigi_sshjob.jobs.actions import Action
from luigi_sshjob.jobs.claims import Claim, Claims, Submission
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.model import JobRef, JobStatus, checked_base_dir
from luigi_sshjob.jobs.pool import Superseded
from luigi_sshjob.jobs.previous import OtherPrevious
from luigi_sshjob.jobs.protocol import offset_word, status_of
from luigi_sshjob.jobs.scheduled.once import look
from luigi_sshjob.jobs.scheduled.requests import action_request
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.runtime_dir import local_username
from luigi_sshjob.ssh.shell.bounds import invalid, reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response

# the action in an error
_DOING = {
    "fs_missing": "collecting its outcome",
    "job_collect": "collecting its outcome",
    "job_give_up": "giving it up",
    "job_adopt": "noting its id",
    "job_relaunch": "starting it again",
    "job_remove": "removing it",
    "job_retry": "collecting its outcome",
    "job_settle": "writing its exit record",
    "scheduler_start": "cancelling it",
    "job_tail": "reading the end of its log",
}

_RETRIED = "retried: yes"  # a line of the mark of an outcome that another attempt follows


def client_identity() -> str:
    """The account, machine and process of this client, for records that people read."""
    return f"{local_username()}@{socket.gethostname()} (process {os.getpid()})"


class JobClient:
    """Sends requests on the jobs of one host below one base directory. All state is on the host."""

    def __init__(self, connection: Connection, base_dir: str, launcher: Launcher):
        self._connection = connection
        self._base_dir = base_dir
        with error_context(host=connection.host):
            self._base = quoting.directory_word(checked_base_dir(base_dir))
        self._claims = Claims(connection, self._base, launcher)

    @property
    def connection(self) -> Connection:
        """The connection to the host."""
        return self._connection

    def submit(
        self,
        spec: JobSpec,
        wanted: Callable[[], bool] = lambda: True,
        provide: Callable[[Sequence[str]], JobSpec] | None = None,
        after: int | None = None,
    ) -> Submission:
        """Start the job, or attach to the attempt of this task that was not collected.

        It is idempotent: the host claims an attempt once and runs it once. If the last attempt was collected, `wanted`
        decides whether to start another one. It is called again if one more attempt is collected meanwhile, so of two
        clients that submit the same job at the same time, the slower one does not run it again. Only for a new attempt
        `provide` is called: first to return the spec with its inputs, then to send entries that the host lacks.

        Raises `JobMismatch` if such an attempt is running with another command, environment, setup, directory or
        outputs. One that has ended is collected, and the next one starts. Raises `OtherPrevious` if such an attempt is
        a retry of another attempt than the spec says, or no retry.

        A retry is also attached to a later attempt that another client has collected meanwhile.

        With `after` only the attempt that follows this number is claimed. Raises `Superseded` if it was collected.
        """
        known, find = spec.previous.attempt if spec.previous else after or 0, provide is not None
        while True:
            with self._reading("job_submit"):
                claim = self._claims.claim(spec, known, find=find)
            job = claim.job
            if claim.kind == "claimed":
                return Submission(job)
            if claim.kind == "lacking":
                if provide is None:
                    raise invalid(self._connection.host, "job_submit", "it lacks inputs of a job without any")
                spec, find = provide(claim.lacking), False
            elif claim.kind == "collected":
                if submission := self._collected(claim, spec, wanted, after):
                    return submission
                known = job.attempt
            elif claim.previous != spec.previous or claim.digests == spec.digests:
                return _attached(claim, spec)
            else:
                self._collect_other(job, claim.digests, spec)

    def _collected(
        self, claim: Claim, spec: JobSpec, wanted: Callable[[], bool], after: int | None
    ) -> Submission | None:
        if not wanted():
            return Submission(claim.job, done=True)
        if spec.previous and self.status(claim.job).outcome:
            # a cleanup has removed what says of which attempt it is a retry
            return _attached(claim, spec) if claim.digests else Submission(claim.job, attached=True)
        if after is not None:
            raise Superseded(claim.job.attempt)
        return None

    def perform(self, job: JobRef, action: Action) -> str:
        """Do what follows from the job's status, such as launching it again.

        Returns the error of the last launch, if there is one.
        """
        verb, *words = action_request(job, action)
        with error_context(_DOING[verb], job=job.id):
            parts = self._claims.installed(verb, *words)
        with self._reading(verb, job):
            return quoting.decode(parts[0].content)[:-1] if parts else ""

    def status(self, job: JobRef, offset: int | None = None) -> JobStatus:
        """Return the status of the job, with its log from `offset` (bytes) on, or without any log."""
        with error_context("reading its status", job=job.id), self._reading("job_status", job):
            status = status_of(self._connection.request("job_status", job.directory, offset_word(offset)), offset)
            return look(Schedulers(self._connection.settings.scheduler_interval), {job: status}, self._send)[job]

    def tail(self, job: JobRef, lines: int, limit: int) -> bytes:
        """The last lines of the log so far, from at most `limit` bytes."""
        with self._reading("job_tail", job):
            return self._check(job, "job_tail", job.directory, str(limit), str(lines)).parts[0].content

    def missing(self, job: JobRef, paths: Sequence[str]) -> list[str]:
        """Those of the paths of outputs that the host does not have."""
        parts = self._check(job, "fs_missing", *map(quoting.quote_path, paths)).parts
        with self._reading("fs_missing", job):
            return [paths[part.index] for part in parts]

    def collect(self, job: JobRef) -> None:
        """Mark the outcome as collected; the next `submit` starts a new attempt."""
        self._check(job, "job_collect", job.directory, client_identity())

    def collect_for_retry(self, job: JobRef, grace: float) -> str:
        """Mark the outcome as collected, because another attempt follows; returns why that must not be, or nothing.

        What the attempt may have left running on the host is ended first, with a grace period in seconds.
        """
        by = f"{client_identity()}\n{_RETRIED}"
        parts = self._check(job, "job_retry", job.directory, by, "-").parts
        if parts and parts[0].kind == "alive":
            # it takes as long as the killing
            parts = self._check(job, "job_retry", job.directory, by, str(math.ceil(grace)), own_session=True).parts
        if not parts:
            return ""
        text = quoting.decode(parts[0].content).strip()
        if parts[0].kind == "collected":
            by, *rest = text.split("\n")
            return "" if _RETRIED in rest else f"it was {by.replace('collected_by:', 'collected by') or 'collected'}"
        return "it was removed" if parts[0].kind == "gone" else text or "it has not ended"

    def give_up(self, job: JobRef, status: JobStatus) -> None:
        """Write the exit record of a job that is lost according to a person; it may still run on another machine.

        Does nothing if the job has ended. Raises `RemoteCommandFailed` if it can be ended from this host.
        """
        self._check(job, "job_give_up", job.directory, client_identity(), status.state.value, status.reason)

    def remove(self, job: JobRef) -> None:
        """Remove a collected attempt, but not the published record and log."""
        self._check(job, "job_remove", job.directory)

    def find(self, key: str, attempt: int | None = None, listed: bool = False) -> JobRef | None:
        """An attempt of a task in any state, by default the newest one, also a forgotten one unless only `listed`."""
        name = key if attempt is None else f"{key}/{attempt}"
        with error_context("looking for the job", job=name), self._reading("job_find"):
            parts = self._connection.request("job_find", self._base, key, str(attempt or ""), "listed" * listed).parts
            return self._claims.ref(key, parts[0]) if parts else None

    def command_line(self, verb: str, job: JobRef) -> str:
        """The `luigi-sshjob` command line for the job."""
        words = ["luigi-sshjob", *verb.split()]
        if self._base_dir != self._connection.settings.base_dir:
            words += "--base-dir", shlex.quote(self._base_dir)
        destination = self._connection.transport.destination
        if destination.transport:
            words += "--transport", shlex.quote(destination.transport)
        if destination.key_file:
            words += "--key-file", shlex.quote(destination.key_file)
        if destination.sshpass:
            words.append("--sshpass")
        return " ".join([*words, shlex.quote(job.host), shlex.quote(job.id)])

    @contextlib.contextmanager
    def _reading(self, verb: str, job: JobRef | None = None) -> Iterator[None]:
        with error_context(job=job.id if job else None), reading_response(verb, self._connection.host):
            yield

    def _send(self, words: tuple[str, ...]) -> Response:
        return self._connection.request(*words)

    def _check(self, job: JobRef, verb: str, *words: str, own_session: bool = False) -> Response:
        with error_context(_DOING[verb], job=job.id):
            return self._connection.request(verb, *words, dedicated_session=own_session)

    def _collect_other(self, job: JobRef, running: str, spec: JobSpec) -> None:
        """Collects an attempt with other digests. Raises `JobMismatch` while it is running.

        What follows a retry of another declaration is a first attempt: then raises `OtherPrevious`.
        """
        if not self.status(job).state.final:
            raise self._mismatch(job, running, spec.digests)
        self.collect(job)
        if spec.previous:
            raise OtherPrevious(None)

    def _mismatch(self, job: JobRef, running: str, submitted: str) -> JobMismatch:
        with self._reading("job_submit", job):
            command, rest = (a != b for a, b in zip(running.split(), submitted.split(), strict=True))
        what = " and ".join(["command"] * command + ["environment, setup, working directory or outputs"] * rest)
        return JobMismatch(
            f"it is running with another {what} (running: {_short(running)}, submitted: {_short(submitted)})",
            host=job.host,
            job=job.id,
            next_step=f"wait for it, or end it with `{self.command_line('kill', job)}` and run the task again",
        )


def _attached(claim: Claim, spec: JobSpec) -> Submission:
    if claim.previous != spec.previous:
        raise OtherPrevious(claim.previous)
    return Submission(claim.job, attached=True)


def _short(digests: str) -> str:
    return "/".join(digest[:8] for digest in digests.split())
