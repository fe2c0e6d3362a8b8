"""Where the recorder takes the place of hosts: the submission of a job, requests for files, and connections."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from unittest import mock

from luigi_sshjob import config
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobPaths
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.tasks import completion, hosts, returned
from luigi_sshjob.tasks.run import JobRun
from luigi_sshjob.testing.recorded_files import RecordedFiles

_FILE_REQUESTS = (
    *("exists", "exists_where_known", "isdir", "listdir", "glob", "size", "mtime"),
    *("mkdir", "remove", "move", "rename_dont_move", "copy", "put", "get", "localize", "reader", "writer"),
)
"""The methods of `RemoteFileSystem` that send requests; the others call these."""


class Records(Protocol):
    """The part of a recorder that takes the place of hosts."""

    def submit(self, run: JobRun) -> None:
        """In place of `JobRun.submit`."""

    def files(self, destination: Destination) -> RecordedFiles:
        """The files of a host."""


class _NoHost:
    """Anything that is asked of it needs a host."""

    def __init__(self, destination: Destination):
        self.destination = destination

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Python and debuggers look for these
            return object.__getattribute__(self, name)
        raise ConfigurationError(
            f"the recorder has no host that could do this: {_called()}",
            host=str(self.destination),
            next_step="replace the function that calls it in this test, or use a throwaway host",
        )


def _called() -> str:
    """The function or property of this package that other code has called."""
    name, frame = "", inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).startswith("luigi_sshjob."):
        name, frame = frame.f_code.co_name, frame.f_back
    return name


class _RecordedTransport(_NoHost):
    def close(self) -> None:
        """There is no connection."""


class _RecordedSubscriptions(_NoHost):
    def wake(self) -> None:
        """Nothing waits."""


class RecordedConnection(_NoHost):
    """In place of a `Connection`."""

    def __init__(self, destination: Destination, settings: config.Settings, files: RecordedFiles):
        super().__init__(destination)
        self.host = str(destination)
        self.settings = settings
        self.files = files
        self.transport = _RecordedTransport(destination)

    def subscriptions(self) -> _RecordedSubscriptions:
        """For a worker that watches no jobs, because each has ended when it was submitted."""
        return _RecordedSubscriptions(self.destination)

    def close_shell(self) -> None:
        """No shell is open."""


@contextlib.contextmanager
def installed(records: Records) -> Iterator[None]:
    """While the block runs, `records` takes the place of all hosts."""
    with contextlib.ExitStack() as stack:

        def replace(owner: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        for name in _FILE_REQUESTS:
            replace(RemoteFileSystem, name, _file_request(records, name))
        replace(JobRun, "submit", lambda run: records.submit(run))
        replace(RemoteContext, "connection", property(_connections(records)))
        replace(completion, "are_published", _are_published)
        # every job of a pool is recorded for its first host
        replace(hosts, "pool_of", lambda task: ())  # noqa: ARG005 - its name
        # a recorded job makes all outputs at once
        replace(returned, "awaits_fetch", lambda task: False)  # noqa: ARG005 - its name
        yield


def _file_request(records: Records, name: str) -> Callable[..., Any]:
    def request(files: RemoteFileSystem, *arguments: Any, **options: Any) -> Any:
        return getattr(records.files(files.remote_context.destination), name)(*arguments, **options)

    return request


def _connections(records: Records) -> Callable[[RemoteContext], RecordedConnection]:
    # a worker has threads for each
    made: dict[tuple[Destination, config.Settings], RecordedConnection] = {}

    def connection(context: RemoteContext) -> RecordedConnection:
        key = context.destination, config.get_settings(context.destination)
        if key not in made:
            made[key] = RecordedConnection(*key, records.files(context.destination))
        return made[key]

    return connection


def _are_published(
    connection: RecordedConnection, paths: JobPaths, others: Sequence[JobPaths] = ()
) -> tuple[bool, list[bool]]:
    """In place of `jobs.published.are_published`."""
    found = [
        connection.files.exists(each.published_record) and connection.files.exists(each.published_log)
        for each in (paths, *others)
    ]
    return found[0], found[1:]
