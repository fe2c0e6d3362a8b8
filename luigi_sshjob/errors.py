"""The exceptions of this package: what failed, on which host, for which job, and what to do next.

There is one class for each decision that a caller may make: correct the declaration (`ConfigurationError`), have a
person fix the login (`LoginRefused`), wait (`HostUnreachable`), or look at the job (`JobFailed` and related classes).

What a host has sent cannot act on a terminal: the message spells out control characters.
Each message begins with fixed words, so that it can be found in docs/errors.rst, which lists all of them.
"""

from __future__ import annotations

import dataclasses
import errno
import re
from typing import Any, TypeVar

from luigi.contrib.ssh import RemoteCalledProcessError
from luigi.target import FileAlreadyExists, MissingParentDirectory, NotADirectory

from luigi_sshjob.text import one_line, visible

Error = TypeVar("Error", bound="SSHJobError")

_MESSAGE = re.compile(
    r"(?=host |job |while )(?:host (?P<host>\S+?)(?:, |(?=: )))?(?:job (?P<job>\S+?)(?:, |(?=: )))?"
    r"(?:while (?P<doing>.+?))?: (?P<problem>(?s:.)*)"
)


class SSHJobError(Exception):
    """Base class of all errors of this package.

    `problem` is one sentence. `host`, `job`, the current action (`doing`, for example "moving a/b") and `next_step` are
    part of the message where they are known. `code` identifies the error to programs: it stays the same when the
    message changes, and is empty if no code depends on it.
    """

    def __init__(
        self,
        problem: str,
        *,
        host: str | None = None,
        job: str | None = None,
        doing: str = "",
        next_step: str = "",
        code: str = "",
    ):
        # not super(): the second base of some subclasses has a constructor with other arguments
        Exception.__init__(self, problem)
        self.problem = visible(problem)
        self.host = host
        self.job = job
        self.doing = doing
        self.next_step = visible(next_step)
        self.code = code

    def __str__(self) -> str:
        known = (("host", self.host), ("job", self.job), ("while", self.doing))
        where = ", ".join(f"{word} {one_line(value)}" for word, value in known if value)
        text = f"{where}: {self.problem}" if where else self.problem
        # a next step in the words of the host is not one of this package
        text = visible(text).replace("\nNext:", "\n Next:")
        return f"{text}\nNext: {one_line(self.next_step)}" if self.next_step else text

    def __reduce__(self) -> Any:
        # unpickling would call the constructor of a second base
        return rebuild, (type(self), self._state())

    def copy_for(self: Error, *, job: str | None = None, doing: str = "") -> Error:
        """Returns a copy for another caller, with that caller's `job` and `doing`."""
        error: Error = rebuild(type(self), self._state())
        error.job, error.doing = job, doing
        return error

    def _state(self) -> dict[str, Any]:
        # OSError does not keep its attributes in __dict__
        own = {name: getattr(self, name) for name in ("errno", "filename") if getattr(self, name, None) is not None}
        return {**self.__dict__, **own}


def rebuild(kind: type[Error], state: dict[str, Any]) -> Error:
    """Returns an error of that class with the attributes in `state`, for errors that come from another process."""
    error = kind.__new__(kind)
    Exception.__init__(error, state["problem"])
    for name, value in state.items():
        setattr(error, name, value)
    return error


@dataclasses.dataclass(frozen=True)
class Message:
    """The parts of an error's message; those that it does not name are empty."""

    problem: str
    host: str = ""
    job: str = ""
    doing: str = ""
    next_step: str = ""


def read_message(text: str) -> Message:
    """Takes the message of an `SSHJobError` apart; any other text is a problem."""
    text, _, next_step = text.partition("\nNext: ")
    found = _MESSAGE.fullmatch(text)
    return Message(next_step=next_step, **found.groupdict("")) if found else Message(text, next_step=next_step)


class ConfigurationError(SSHJobError, ValueError):
    """A setting or an attribute of a task is invalid."""


class UnsafeValue(ConfigurationError):
    """A path, name or value that cannot be passed to a shell, for example because it contains a NUL byte."""


class CommandMissing(ConfigurationError, NotImplementedError):
    """The task does not implement `command()`."""


class ConnectionFailed(SSHJobError, RemoteCalledProcessError):
    """The connection to the host failed. Also a `luigi.contrib.ssh.RemoteCalledProcessError`, with ssh's status 255."""

    returncode = 255
    cmd: Any = ""
    output = stderr = None


class LoginRefused(ConnectionFailed):
    """A login failed for a reason that no retry can fix: an unknown host name, a refused key, a changed host key."""


class LoginMisconfigured(LoginRefused, ConfigurationError):
    """A login failed because of the ssh configuration, a key file or the account of this machine."""


class LocalResourceError(ConnectionFailed):
    """The local machine prevents the connection: a full disk, too many open files, missing permissions."""


class HostUnreachable(ConnectionFailed):
    """The host cannot be reached at the moment. This says nothing about the jobs on it."""


class LoginNeeded(HostUnreachable):
    """Only a person can log in, at a prompt. No further login is tried until somebody has; tasks wait for that."""


class ConnectionLost(HostUnreachable):
    """No complete response arrived: the connection broke, or the host did not respond in time."""


class InvalidResponse(ConnectionFailed):
    """The host sent something that is not a valid response: damaged, or without an end. A retry would not help."""


class SessionRefused(HostUnreachable):
    """The server refused another session on the shared connection (MaxSessions of sshd)."""


class RemoteCommandFailed(SSHJobError, RemoteCalledProcessError):
    """A command failed on the host. Also a `luigi.contrib.ssh.RemoteCalledProcessError`."""

    def __init__(self, problem: str, *, returncode: int = 1, cmd: Any = "", output: bytes | None = None, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.returncode = returncode
        self.cmd = cmd
        self.output = output
        self.stderr = None


class FileError(SSHJobError):
    """Base class of file errors. Each subclass is also the corresponding exception of Luigi or Python."""


class FileMissing(FileError, FileNotFoundError):
    """The file does not exist, on the host or on the local machine. Also a `FileNotFoundError`."""

    def __init__(self, problem: str, *, path: str, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno, self.filename = errno.ENOENT, path


class PathIsDirectory(FileError, IsADirectoryError):
    """A directory was given in place of a file. Also an `IsADirectoryError`."""

    def __init__(self, problem: str, *, path: str, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno, self.filename = errno.EISDIR, path


class LocalFileError(FileError, OSError):
    """A local file or directory cannot be read or written. Also an `OSError`."""

    def __init__(self, problem: str, *, number: int | None = None, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno = number


class PathExists(FileError, FileAlreadyExists):
    """The path already exists. Also a `luigi.target.FileAlreadyExists`."""


class ParentDirectoryMissing(FileError, MissingParentDirectory):
    """The parent directory does not exist. Also a `luigi.target.MissingParentDirectory`."""


class PathIsNotDirectory(FileError, NotADirectory):
    """The path exists and is not a directory. Also a `luigi.target.NotADirectory`."""


class JobError(SSHJobError):
    """Base class of errors of a job."""


class JobNotFound(JobError):
    """The attempt does not exist on the host."""


class JobMismatch(JobError):
    """An attempt of the same task is running that was submitted with another command or environment."""


class JobFailed(JobError):
    """The job ended without success. `outcome` is the `luigi_sshjob.Outcome`."""

    def __init__(self, problem: str, *, outcome: Any = None, **where: Any):
        super().__init__(problem, **where)
        self.outcome = outcome


class JobLost(JobFailed):
    """The job ended without an exit record, so its outcome is unknown."""
