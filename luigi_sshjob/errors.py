"""Every error of the package: what happened, on which host, to which job, and what to do next.

There is one class per decision a caller makes: mend the declaration (`ConfigurationError`), let a person
mend the login (`LoginRefused`), wait (`HostUnreachable`), look at the job (`JobFailed` and its kin).
"""

from __future__ import annotations

from typing import Any

from luigi.contrib.ssh import RemoteCalledProcessError


class SSHJobError(Exception):
    """Base of all errors of this package.

    `problem` is one sentence; `host`, `job` and `next_step` are shown with it where they are known.
    """

    def __init__(self, problem: str, *, host: str | None = None, job: str | None = None, next_step: str = ""):
        # not super(): RemoteCommandFailed has another base, whose constructor takes other things
        Exception.__init__(self, problem)
        self.problem = problem
        self.host = host
        self.job = job
        self.next_step = next_step

    def __str__(self) -> str:
        where = ", ".join(
            part for part in (f"host {self.host}" if self.host else "", f"job {self.job}" if self.job else "") if part
        )
        text = f"{where}: {self.problem}" if where else self.problem
        return f"{text}\nNext: {self.next_step}" if self.next_step else text


class ConfigurationError(SSHJobError, ValueError):
    """A setting or a task's declaration cannot be used as it stands."""


class UnsafeValue(ConfigurationError):
    """A path, name or value that no shell could be given safely (a NUL, say)."""


class ConnectionFailed(SSHJobError):
    """There is no connection to the host."""


class LoginRefused(ConnectionFailed):
    """Trying again cannot help: an unknown host name, a refused key, a changed host key."""


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


class JobError(SSHJobError):
    """Something about one job."""


class JobNotFound(JobError):
    """The host has no such attempt."""


class JobMismatch(JobError):
    """A running attempt of the same task was submitted with another command or environment."""


class JobFailed(JobError):
    """The job ended, and not well. `outcome` is the `luigi_sshjob.job.Outcome`."""

    def __init__(self, problem: str, *, outcome: Any = None, **where: Any):
        super().__init__(problem, **where)
        self.outcome = outcome


class JobLost(JobFailed):
    """The job is gone without an exit record; nobody can say how it ended."""
