"""Fetches the outputs of a job that are local files and directories."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import luigi
from luigi.task import flatten

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import RemoteCommandFailed
from luigi_sshjob.jobs.model import JobPaths, JobRef, job_key
from luigi_sshjob.jobs.spec import ReturnedOutput
from luigi_sshjob.targets.commands import FileCommands
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.copy import Copy
from luigi_sshjob.targets.digests import has_digest
from luigi_sshjob.targets.temp_files import temporary_path
from luigi_sshjob.tasks.options import JobOptions
from luigi_sshjob.tasks.outputs import target_on
from luigi_sshjob.text import one_line

logger = logging.getLogger("luigi-interface")


class ReturnedOutputs:
    """The outputs of one task that its runs fetch. All of them appear, or none does."""

    def __init__(self, outputs: Sequence[ReturnedOutput], context: RemoteContext):
        self._outputs = outputs
        self._context = context

    def paths(self, job: JobRef) -> list[str]:
        """Where the host has them."""
        return [
            JobPaths.returned_output(job.directory, number, output.name) for number, output in enumerate(self._outputs)
        ]

    def exist(self) -> bool:
        """Whether all were fetched."""
        return all(os.path.exists(output.local_path) for output in self._outputs)

    def fetch(self, job: JobRef) -> None:
        """Copies all of them, then puts them in place. It may be interrupted and repeated, also by two runs at once.

        Raises `LocalFileError` for local errors, and the errors of `RemoteFileSystem.localize`.
        """
        with (
            contextlib.ExitStack() as stack,
            error_context("fetching its outputs", host=job.host, job=job.id),
            translate_local_file_errors(),
        ):
            copies = []
            for path, output in zip(self.paths(job), self._outputs, strict=True):
                copies.append(stack.enter_context(_temporary(output.local_path)))
                logger.info("%s: fetching the output %s", job.id, one_line(output.local_path))
                self._get(path, copies[-1])
            for copy, output in zip(copies, self._outputs, strict=True):
                _put_in_place(copy, os.path.abspath(output.local_path))

    def _get(self, path: str, copy: str) -> None:
        commands = FileCommands(self._context.connection)
        # other tasks send parts of an output to other hosts, and a link would add files of this machine
        Copy(commands, copy, path, preserve=False, checksum=False, progress=lambda *_: None, confined=True).get()
        if not os.path.isdir(copy):
            digest = commands.digest(path)
            if not has_digest(copy, digest):
                raise RemoteCommandFailed(
                    f"checksum mismatch after the copy: {path}: {digest} on the host",
                    next_step="run it again; if that does not help, check the disks and memory of both machines",
                )


def awaits_fetch(task: Any) -> bool:
    """Whether outputs of the newest attempt are still to be fetched: then local ones may be those of an earlier one.

    Asks the host only about a task that has local outputs and others. Raises the errors of a request.
    """
    targets = flatten(task.output())
    if len(targets) < 2 or not any(isinstance(target, luigi.LocalTarget) for target in targets):
        return False
    attempt = JobOptions.of(task).host_jobs().client.find(job_key(task.task_id))
    if attempt is None:
        return False
    return not target_on(task.remote_context, JobPaths.in_directory(attempt.directory, "SJ_COLLECTED")).exists()


@contextlib.contextmanager
def _temporary(path: str) -> Iterator[str]:
    """A path in a private directory on the same file system, which is removed afterwards."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with temporary_path(folder, directory=True, private=True) as directory:
        yield os.path.join(directory, name)
        shutil.rmtree(directory, ignore_errors=True)


def _put_in_place(copy: str, path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        # it cannot be replaced; it is removed with the temporary directory
        os.rename(path, f"{os.path.dirname(copy)}/replaced")
    os.replace(copy, path)
