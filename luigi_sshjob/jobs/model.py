"""Jobs as data: paths, states and statuses. No I/O."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import posixpath
import re
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled.facts import ScheduledFacts
from luigi_sshjob.remote import quoting, scripts


class JobPaths:
    """All paths of a job. Nothing else joins them; the file names are those of `remote/common/layout.sh`."""

    def __init__(self, base_dir: str, key: str):
        self.task_directory = posixpath.join(quoting.below_home(checked_base_dir(base_dir)), "jobs", key)

    @property
    def published_record(self) -> str:
        """The exit record of the attempt that succeeded, if one did."""
        return posixpath.join(self.task_directory, scripts.layout()["SJ_RECORD"])

    @property
    def published_log(self) -> str:
        """The log of the attempt that succeeded, if one did."""
        return posixpath.join(self.task_directory, scripts.layout()["SJ_LOG"])

    @property
    def published(self) -> set[str]:
        """Both; other outputs are those of the command."""
        return {self.published_record, self.published_log}

    def result(self, suffix: str) -> str:
        """The value that work() of a `RemotePythonTask` has returned."""
        return posixpath.join(self.task_directory, f"result.{suffix}")

    @staticmethod
    def is_published(path: str) -> bool:
        """Whether it is the path of a published record or log, below any base directory."""
        folder, name = posixpath.split(path)
        published = scripts.layout()["SJ_RECORD"], scripts.layout()["SJ_LOG"]
        return name in published and posixpath.basename(posixpath.dirname(folder)) == "jobs"

    @staticmethod
    def returned_output(directory: str, number: int, name: str) -> str:
        """An output of one attempt that is to be fetched."""
        return posixpath.join(directory, scripts.layout()["SJ_RETURNED"], str(number), name)

    @staticmethod
    def in_directory(directory: str, name: str) -> str:
        """A file of one attempt, by its name in the layout, such as SJ_LOG."""
        return posixpath.join(directory, scripts.layout()[name])


def checked_base_dir(base_dir: Any) -> str:
    """Raises `ConfigurationError` unless it is a path. An empty one would be the host's root directory."""
    if not isinstance(base_dir, str) or not base_dir or "\0" in base_dir:
        raise ConfigurationError(
            f"base_dir must be a path: {base_dir!r}", next_step="name a directory of the account on the host"
        )
    return base_dir


def job_key(task_id: str) -> str:
    """A Luigi task id as a directory name of at most 150 bytes, different for different ids."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", task_id).lstrip(".-") or "_"
    if safe == task_id and len(safe) <= 150:
        return safe
    return f"{safe[:133]}_{digest(task_id)[:16]}"


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(quoting.encode(text)).hexdigest()


def tag_of(key: str) -> str:
    """A short name of a task, of hexadecimal digits only."""
    return digest(key)[:12]


@dataclasses.dataclass(frozen=True)
class JobRef:
    """One attempt on one host, as the host named it."""

    host: str
    key: str
    attempt: int
    directory: str

    @property
    def id(self) -> str:
        """SSHJOB_ID of the command; names the job on the command line."""
        return f"{self.key}/{self.attempt}"

    @property
    def base_directory(self) -> str:
        """The base directory on the host."""
        return posixpath.dirname(posixpath.dirname(posixpath.dirname(self.directory)))


class State(enum.Enum):
    """The state of an attempt as its host sees it."""

    CLAIMED = "claimed"  # submitted, the supervisor has not started yet
    QUEUED = "queued"  # in the queue of a scheduler, or for slots
    RUNNING = "running"
    UNSUPERVISED = "unsupervised"  # the supervisor died, the command is still running
    ENDED = "ended"  # there is an exit record
    LOST = "lost"
    ELSEWHERE = "elsewhere"  # on another machine that shares the directory
    UNKNOWN = "unknown"  # the directory cannot be read or written now, or its scheduler does not answer

    @property
    def final(self) -> bool:
        """Whether the state will not change any more."""
        return self in (State.ENDED, State.LOST)


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """The status of a job in one response of its host."""

    state: State
    reason: str = ""
    outcome: Outcome | None = None
    progress: str = ""
    log: bytes = b""
    """The bytes of the log after the requested offset, up to the size limit of a response."""
    known_log: bytes | None = None
    """The bytes before the offset that were read again; None if the log was not read."""
    truncated: bool = False
    """Whether the command has truncated its log since the last status, which then has no `log`."""
    more: bool = False
    """Whether the log has more bytes than that."""
    running_for: int | None = None
    """Seconds since it started, by the host's clock; None if unknown."""
    scheduled: ScheduledFacts | None = None
    """What the host knows about a job of a scheduler that has no exit record."""
    queue_reason: str = ""
    """Why it waits: in the scheduler's words, or for which slots."""
    hopeless: bool = False
    """Whether it waits for something that will not happen unless a person acts."""
