"""Every error of the package: what happened, on which host, to which job, and what to do next.

There is one class per decision a caller makes: mend the declaration (`ConfigurationError`), let a person
mend the login (`LoginRefused`), wait (`HostUnreachable`), look at the job (`JobFailed` and its kin).

Each sentence begins with words that never change, so that it is found in docs/errors.rst, which lists them all;
what does change comes behind them.
"""

from __future__ import annotations

import errno
from typing import Any, TypeVar

from luigi.contrib.ssh import RemoteCalledProcessError
from luigi.target import FileAlreadyExists, MissingParentDirectory, NotADirectory

Error = TypeVar("Error", bound="SSHJobError")


class SSHJobError(Exception):
    """Base of all errors of this package.

    `code` is for programs: a short name that stays the same when the text changes, empty where nothing branches on it.

    `problem` is one sentence; `host`, `job`, what was being done (`doing`: "moving a/b") and `next_step` are shown with
    it where they are known.
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
        # not super(): some have another base, whose constructor takes other things
        Exception.__init__(self, problem)
        self.problem = problem
        self.host = host
        self.job = job
        self.doing = doing
        self.next_step = next_step
        self.code = code

    def __str__(self) -> str:
        known = (("host", self.host), ("job", self.job), ("while", self.doing))
        where = ", ".join(f"{word} {value}" for word, value in known if value)
        text = f"{where}: {self.problem}" if where else self.problem
        return f"{text}\nNext: {self.next_step}" if self.next_step else text

    def __reduce__(self) -> Any:
        # those with a second base would be made again by that one's constructor
        return _again, (type(self), self._state())

    def again(self: Error, *, job: str | None = None, doing: str = "") -> Error:
        """The same for somebody else who meets with it, on behalf of another job or of none."""
        error: Error = _again(type(self), self._state())
        error.job, error.doing = job, doing
        return error

    def _state(self) -> dict[str, Any]:
        # what OSError has is not in its __dict__
        systems = {name: getattr(self, name) for name in ("errno", "filename") if getattr(self, name, None) is not None}
        return {**self.__dict__, **systems}


def _again(kind: type[Error], state: dict[str, Any]) -> Error:
    error = kind.__new__(kind)
    Exception.__init__(error, state["problem"])
    for name, value in state.items():
        setattr(error, name, value)
    return error


class ConfigurationError(SSHJobError, ValueError):
    """A setting or a task's declaration cannot be used as it stands."""


class UnsafeValue(ConfigurationError):
    """A path, name or value that no shell could be given safely (a NUL, say)."""


class CommandMissing(ConfigurationError, NotImplementedError):
    """A task that does not say what it runs."""


class ConnectionFailed(SSHJobError):
    """There is no connection to the host."""


class LoginRefused(ConnectionFailed):
    """Trying again cannot help: an unknown host name, a refused key, a changed host key."""


class LocalResourceError(ConnectionFailed):
    """This machine, not the host, stands in the way: no room, no descriptor, no right to a file."""


class HostUnreachable(ConnectionFailed):
    """No connection for now. Says nothing about the jobs on the host."""


class ConnectionLost(HostUnreachable):
    """An answer did not arrive whole: the connection broke, or the host did not answer in time."""


class SessionRefused(HostUnreachable):
    """The server has no session left on the shared connection (sshd's MaxSessions)."""


class RemoteCommandFailed(SSHJobError, RemoteCalledProcessError):
    """A command ran on the host and failed. Also Luigi's `RemoteCalledProcessError`, as callers expect."""

    def __init__(self, problem: str, *, returncode: int = 1, cmd: Any = "", output: bytes | None = None, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.returncode = returncode
        self.cmd = cmd
        self.output = output
        self.stderr = None

    __str__ = SSHJobError.__str__


class FileError(SSHJobError):
    """Something about a file or directory. Each kind is also the exception that Luigi or Python has for it."""


class FileMissing(FileError, FileNotFoundError):
    """There is no such file, on the host or here. Also Python's `FileNotFoundError`."""

    def __init__(self, problem: str, *, path: str, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno, self.filename = errno.ENOENT, path

    __str__ = SSHJobError.__str__


class PathIsDirectory(FileError, IsADirectoryError):
    """A directory where a file is wanted. Also Python's `IsADirectoryError`."""

    def __init__(self, problem: str, *, path: str, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno, self.filename = errno.EISDIR, path

    __str__ = SSHJobError.__str__


class LocalFileError(FileError, OSError):
    """A file or directory of this machine cannot be read or written. Also Python's `OSError`."""

    def __init__(self, problem: str, *, number: int | None = None, **where: Any):
        SSHJobError.__init__(self, problem, **where)
        self.errno = number

    __str__ = SSHJobError.__str__


class PathExists(FileError, FileAlreadyExists):
    """Also Luigi's `FileAlreadyExists`."""


class ParentDirectoryMissing(FileError, MissingParentDirectory):
    """Also Luigi's `MissingParentDirectory`."""


class PathIsNotDirectory(FileError, NotADirectory):
    """Also Luigi's `NotADirectory`."""


class JobError(SSHJobError):
    """Something about one job."""


class JobNotFound(JobError):
    """The host has no such attempt."""


class JobMismatch(JobError):
    """A running attempt of the same task was submitted with another command or environment."""


class JobFailed(JobError):
    """The job ended, and not well. `outcome` is the `luigi_sshjob.jobs.model.Outcome`."""

    def __init__(self, problem: str, *, outcome: Any = None, **where: Any):
        super().__init__(problem, **where)
        self.outcome = outcome


class JobLost(JobFailed):
    """The job is gone without an exit record; nobody can say how it ended."""
