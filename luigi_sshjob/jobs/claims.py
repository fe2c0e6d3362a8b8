"""Claims of attempts: one request that finds the attempt of a task, or makes and launches the next one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.inputs import entry_words
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.launchers.registry import SCHEDULERS
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.previous import PreviousAttempt
from luigi_sshjob.jobs.scheduled.once import assert_not_scheduled
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.bounds import invalid, reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

# an entry that no cache has
_NO_ENTRY = ("0" * 64, "none")
# codes of refusals whose next step is better than a general one about the base directory
_OWN_STEPS = ("attempt-still-running", "link-in-base", "writable-by-others", "directory-not-checked")


@dataclasses.dataclass(frozen=True)
class Claim:
    """The response to one: an attempt that was claimed, found, or collected since; or what the cache lacks for it."""

    kind: str
    job: JobRef
    digests: str = ""
    """Of an attempt that was found, or that was collected since."""
    previous: PreviousAttempt | None = None
    """What that one is a retry of."""
    lacking: tuple[str, ...] = ()
    """Entries of the cache; then there is no attempt."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """The attempt of a submission; `attached` if it existed, `done` if another client has even collected it."""

    job: JobRef
    attached: bool = False
    done: bool = False


class Claims:
    """Sends claims to one host below one base directory."""

    def __init__(self, connection: Connection, base: quoting.Word, launcher: Launcher):
        self._connection = connection
        self._base = base
        self._launcher = launcher

    def claim(self, spec: JobSpec, known: int, checked: Sequence[int] = (), *, find: bool = False) -> Claim:
        """Finds the attempt that was not collected, or claims the next one unless one after `known` was collected.

        With `find` no attempt is claimed; the response is that something is lacking for it.
        """
        words = (
            self._base,
            spec.key,
            "\n".join([self._launcher.name, *spec.launch.lines]),
            scripts.supervisor_hash(),
            str(known),
            " ".join(map(str, checked)),
            "\n".join([spec.digests, *([spec.previous.line()] if spec.previous else [])]),
            spec.spec_text(),
            spec.command,
            spec.environment_text(),
            # there is a file only if there is a setup
            (spec.setup.lines or "\n") if spec.setup else "",
            *(_NO_ENTRY if find else entry_words(spec.inputs, spec.project)),
        )
        host = self._connection.host
        with error_context("submitting it", job=spec.key), reading_response("job_submit", host):
            parts = self.installed("job_submit", *words)
            if parts[0].kind == "unchecked":
                directory, _, note = quoting.decode(parts[0].content).partition("\n")
                job = JobRef(host, spec.key, parts[0].index, directory)
                scheduler, interval = SCHEDULERS[self._launcher.name], self._connection.settings.scheduler_interval
                assert_not_scheduled(job, note, int(parts[0].value), scheduler, interval, self._send)
                return self.claim(spec, known, [*checked, parts[0].index], find=find)
            if parts[0].kind == "lacking":
                lacking = tuple(part.value for part in parts if part.kind == "lacking")
                return Claim("lacking", JobRef(host, spec.key, 0, ""), lacking=lacking)
            found = next((quoting.decode(part.content) for part in parts if part.kind == "digests"), "")
            digests, _, retry = found.rstrip("\n").partition("\n")
            return Claim(parts[0].kind, self.ref(spec.key, parts[0]), digests, PreviousAttempt.parse(retry))

    def installed(self, verb: str, *words: str) -> Sequence[ResponsePart]:
        """The parts of the response; the supervisor's scripts are installed first if they are missing or damaged."""
        request = self._request_in_base if verb == "job_submit" else self._connection.request
        parts = request(verb, *words).parts
        if parts and parts[0].kind == "uninstalled":
            files = [word for item in scripts.supervisor().items() for word in item]
            self._request_in_base("install_supervisor", self._base, scripts.supervisor_hash(), *files)
            parts = request(verb, *words).parts
        return parts

    def ref(self, key: str, part: ResponsePart) -> JobRef:
        """The attempt that a part of a response names."""
        directory = quoting.decode(part.content)[:-1]
        if not directory.endswith(f"/jobs/{key}/{part.index}"):
            raise invalid(self._connection.host, "a job", f"not the directory of {key}/{part.index}: {directory}")
        return JobRef(self._connection.host, key, part.index, directory)

    def _send(self, words: tuple[str, ...]) -> Response:
        return self._connection.request(*words)

    def _request_in_base(self, verb: str, *words: str) -> Response:
        try:
            return self._connection.request(verb, *words)
        except RemoteCommandFailed as error:
            if error.code not in _OWN_STEPS:
                error.next_step = (
                    f"make {self._base} a directory that the account on {self._connection.host} owns and can write, "
                    "or set base_dir"
                )
            error.next_step += "; nothing was submitted"
            raise
