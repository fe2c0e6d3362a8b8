"""Collects the outcome of a job: with its outputs in place, once, and with the cleanup that the task wants."""

from __future__ import annotations

import logging
import time

from luigi_sshjob.errors import FileMissing, JobError, RemoteCommandFailed, SSHJobError
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobPaths, JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.remote import quoting
from luigi_sshjob.retry import Retry, jitter
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.outputs import target_on
from luigi_sshjob.tasks.returned import ReturnedOutputs

logger = logging.getLogger("luigi-interface")

_LATE_OUTPUT = 15.0  # seconds in which a network file system may show what a node has made


class Collector:
    """Collects the outcomes of one task. Waits while the host is unreachable, as `retry` says."""

    def __init__(self, options: JobOptions, spec: JobSpec, jobs: HostJobs, retry: Retry):
        self._options = options
        self._spec = spec
        self._jobs = jobs
        self._retry = retry
        self._returned = ReturnedOutputs(spec.returned, options.context)

    def made(self) -> bool | None:
        """Whether all outputs of the job exist; None for a job without outputs."""
        paths = [output.path for output in self._spec.outputs]
        if self._spec.publish:
            paths.append(JobPaths(self._options.base_dir, self._spec.key).published_record)
        if not paths and not self._spec.returned:
            return None
        return self._returned.exist() and all(target_on(self._options.context, path).exists() for path in paths)

    def collect(self, job: JobRef, outcome: Outcome) -> list[str]:
        """Fetches the outputs of a success, and marks the outcome as collected.

        Returns the outputs that the host does not have; then nothing was fetched or marked.
        """
        paths = []
        if outcome.succeeded:
            paths += [quoting.below_home(output.path) for output in self._spec.outputs]
            paths += self._returned.paths(job)
        try:
            missing = self._missing(job, paths)
        except RemoteCommandFailed as error:
            if error.code == "path-not-responding" or self._spec.returned:
                # whether the outputs exist is unknown; the next run of the task collects the outcome
                raise
            logger.warning("%s was not marked as collected: %s", job.id, error)
            return []
        if missing:
            return missing
        if outcome.succeeded and self._spec.returned:
            self._fetch(job)
        self.mark(job)
        return []

    def _fetch(self, job: JobRef) -> None:
        try:
            self._retry.call(lambda: self._returned.fetch(job))
        except FileMissing:
            if not self._fetched_by_another_run():
                raise

    def _fetched_by_another_run(self) -> bool:
        """Whether it has put all outputs in place, and may have removed the job."""
        return bool(self._spec.returned) and self._retry.call(lambda: bool(self.made()))

    def mark(self, job: JobRef) -> None:
        """Marks the outcome as collected."""
        try:
            self._retry.call(lambda: self._jobs.client.collect(job))
        except RemoteCommandFailed as error:
            # the outcome matters more than the mark; the next run finds and reports it again
            logger.warning("%s was not marked as collected: %s", job.id, error)

    def collect_for_retry(self, job: JobRef) -> str:
        """Marks the outcome as collected, because another attempt follows; returns why none may, or nothing."""
        try:
            return self._retry.call(lambda: self._jobs.client.collect_for_retry(job, self._jobs.kill_grace))
        except RemoteCommandFailed as error:
            return f"it cannot be marked as collected: {error.problem}"

    def outputs_missing(self, job: JobRef, missing: list[str]) -> JobError:
        """The error for a success whose outputs do not exist."""
        return JobError(
            f"the job succeeded, but its outputs do not exist on the host: {', '.join(missing)}; they may be on "
            "another file system, or on the node that ran it",
            host=job.host,
            job=job.id,
            next_step="let output() name paths that the host shares with its nodes; then run "
            f"`{self._jobs.client.command_line('collect', job)}`, so that the next run of the task is a new attempt",
        )

    def clean_up(self, job: JobRef, outcome: Outcome) -> bool:
        """Removes a collected attempt if the task wants that; returns whether it did."""
        cleanup = self._options.cleanup
        # the files of a lost job are needed to find out why
        removed = outcome.succeeded if cleanup == "on_success" else cleanup == "always"
        if not removed or outcome.state == "lost":
            return False
        try:
            self._retry.call(lambda: self._jobs.client.remove(job))
        except SSHJobError as error:
            # the outcome matters more than the space that is not freed
            logger.warning("%s was not removed: %s", job.id, error)
        return True

    def _missing(self, job: JobRef, paths: list[str]) -> list[str]:
        """Those of the paths that the host does not have, not even after a while."""
        deadline = time.monotonic() + (0 if self._jobs.launcher.on_host else _LATE_OUTPUT)
        while paths and (missing := self._retry.call(lambda: self._jobs.client.missing(job, paths))):
            if time.monotonic() >= deadline:
                return [] if self._fetched_by_another_run() else missing
            time.sleep(jitter(1, 2))
        return []
