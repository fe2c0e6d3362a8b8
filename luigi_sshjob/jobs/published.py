"""Whether tasks that have no outputs of their own are complete."""

from __future__ import annotations

from collections.abc import Sequence

from luigi_sshjob.error_context import error_context
from luigi_sshjob.jobs.model import JobPaths
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.shell.errors import refused
from luigi_sshjob.ssh.shell.remote_shell import Response

_VERB = "job_published"


def are_published(connection: Connection, paths: JobPaths, others: Sequence[JobPaths] = ()) -> tuple[bool, list[bool]]:
    """Whether exit record and log of a success exist next to the attempts of a task, and of other tasks.

    Other than `RemoteTarget.exists` it is a question about jobs, whose files are all on one file system, so it needs no
    process and no time limit of its own on the host. Raises `RemoteCommandFailed` if it cannot be determined for the
    first one; the others are not published then.
    """
    with error_context("looking for its exit record", host=connection.host):
        directories = [quoting.quote_path(each.task_directory) for each in (paths, *others)]
        response = connection.request(_VERB, *directories, check=False)
        if response.status > 1:
            raise refused(_VERB, response, connection.host)
        return response.status == 0, _published(response, len(others))


def _published(response: Response, count: int) -> list[bool]:
    found = {part.index for part in response.parts if part.kind == "published"}
    return [number in found for number in range(count)]
