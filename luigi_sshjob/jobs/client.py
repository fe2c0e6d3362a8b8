"""The verbs on jobs, each one round trip: submit, poll, cancel, collect, remove."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
from collections.abc import Callable

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import JobMismatch, RemoteCommandFailed
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.model import JobRef, JobStatus, checked_base_dir
from luigi_sshjob.jobs.protocol import offset_word, status_of
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.local.runtime_dir import local_username
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

# What is being done with a job, in an error.
_DOING = {
    "job_collect": "taking its outcome over",
    "job_relaunch": "starting it once more",
    "job_remove": "removing it",
    "job_tail": "reading the end of its log",
}


def client_identity() -> str:
    """Who asks, from where: for records that people read."""
    return f"{local_username()}@{socket.gethostname()} (process {os.getpid()})"


@dataclasses.dataclass(frozen=True)
class Submission:
    """The attempt that a request led to, and whether it was there before, or has even been collected by another."""

    job: JobRef
    attached: bool = False
    done: bool = False


class JobClient:
    """Jobs of one host below one base directory. Holds no state: the host's record is all there is."""

    def __init__(self, connection: Connection, base_dir: str, launcher: Launcher):
        self._connection = connection
        self._base_dir = base_dir
        with error_context(host=connection.host):
            self._base = quoting.directory_word(checked_base_dir(base_dir))
        self._launcher = launcher

    @property
    def connection(self) -> Connection:
        """The connection to the host."""
        return self._connection

    def submit(self, request: JobSpec, wanted: Callable[[], bool] = lambda: True) -> Submission:
        """Starts the job, or attaches to the attempt of this task that nobody has collected.

        May be repeated after any doubt: the host claims an attempt once and runs it once. Where an attempt was
        collected before, `wanted` says whether there is to be a next one; if one more is collected while it looks, it
        is asked again. So of two who want the same at the same time the slower one does not run it once more.

        Raises `JobMismatch` where such an attempt is running but was asked for differently; one that has ended is
        then nobody's any more, and the next one begins.
        """
        known = 0
        while True:
            kind, job, digests = self._claim(request, known)
            if kind == "claimed":
                return Submission(job)
            if kind == "collected":
                if not wanted():
                    return Submission(job, done=True)
                known = job.attempt
            elif digests == request.digests:
                return Submission(job, attached=True)
            elif self.status(job).state.final:
                self.collect(job)
            else:
                raise self._mismatch(job, digests, request.digests)

    def relaunch(self, job: JobRef) -> str:
        """For a claim that no supervisor has taken up; one that has been taken up is not run again.

        Returns what is known of why none could, or nothing.
        """
        words = (self._base, scripts.supervisor_hash(), job.directory)
        parts = self._check(job, "job_relaunch", *words).parts
        return quoting.decode(parts[0].content)[:-1] if parts else ""

    def status(self, job: JobRef, offset: int | None = None) -> JobStatus:
        """Return the status of the job, with its log from `offset` (bytes) on, or without any log."""
        with error_context("reading its status", job=job.id):
            response = self._connection.request("job_status", job.directory, offset_word(offset))
        return status_of(response, offset)

    def tail(self, job: JobRef, lines: int, most: int) -> bytes:
        """The last lines of its log as it is now, of `most` bytes at the end of it and no more."""
        return self._check(job, "job_tail", job.directory, str(most), str(lines)).parts[0].content

    def collect(self, job: JobRef) -> None:
        """Marks the outcome as taken over; the next `submit` is a new attempt."""
        self._check(job, "job_collect", job.directory, client_identity())

    def remove(self, job: JobRef) -> None:
        """Removes a collected attempt, but not what a task shows as its output."""
        self._check(job, "job_remove", job.directory)

    def latest(self, key: str) -> JobRef | None:
        """The newest attempt of a task, whatever its state."""
        with error_context("looking for its newest attempt", job=key):
            parts = self._connection.request("job_latest", self._base, key).parts
        return self._ref(key, parts[0]) if parts else None

    def command_line(self, verb: str, job: JobRef) -> str:
        """The `luigi-sshjob` command that a person would give."""
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
        return " ".join([*words, job.host, job.id])

    def _claim(self, request: JobSpec, known: int) -> tuple[str, JobRef, str]:
        words = (
            self._base,
            request.key,
            "\n".join([self._launcher.name, *request.launch.lines]),
            scripts.supervisor_hash(),
            str(known),
            request.digests,
            request.spec_text(),
            request.command,
            request.environment_text(),
        )
        with error_context("submitting it", job=request.key):
            parts = self._base_checked("job_submit", *words).parts
            if parts[0].kind == "uninstalled":
                files = [word for item in scripts.supervisor().items() for word in item]
                self._base_checked("install_supervisor", self._base, scripts.supervisor_hash(), *files)
                parts = self._base_checked("job_submit", *words).parts
        digests = quoting.decode(parts[1].content)[:-1] if parts[0].kind == "found" else ""
        return parts[0].kind, self._ref(request.key, parts[0]), digests

    def _base_checked(self, verb: str, *words: str) -> Response:
        try:
            return self._connection.request(verb, *words)
        except RemoteCommandFailed as error:
            if error.code not in ("attempt-still-running", "attempt-still-scheduled"):
                error.next_step = (
                    f"make {self._base} a directory that the account on {self._connection.host} owns and can write, "
                    "or set base_dir"
                )
            error.next_step += "; nothing was submitted"
            raise

    def _check(self, job: JobRef, verb: str, *words: str) -> Response:
        with error_context(_DOING[verb], job=job.id):
            return self._connection.request(verb, *words)

    def _ref(self, key: str, part: ResponsePart) -> JobRef:
        return JobRef(self._connection.host, key, part.index, quoting.decode(part.content)[:-1])

    def _mismatch(self, job: JobRef, there: str, asked: str) -> JobMismatch:
        command, circumstances = (a != b for a, b in zip(there.split(), asked.split(), strict=True))
        what = " and ".join(["command"] * command + ["environment, working directory or outputs"] * circumstances)
        return JobMismatch(
            f"it is running with another {what} (there {_short(there)}, asked for {_short(asked)})",
            host=job.host,
            job=job.id,
            next_step=f"wait for it, or end it with `{self.command_line('kill', job)}` and run the task again",
        )


def _short(digests: str) -> str:
    return "/".join(digest[:8] for digest in digests.split())
