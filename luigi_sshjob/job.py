"""Jobs as data: what is asked, where it lies on the host, how it stands, how it ended. No I/O."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from luigi_sshjob import shell
from luigi_sshjob.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# set by some shell itself and read-only there: an assignment would end the job before it began
_SHELL_OWNED = frozenset(
    ["BASHOPTS", "BASHPID", "BASH_VERSINFO", "EUID", "GROUPS", "KSH_VERSION", "PPID", "SHELLOPTS", "UID"]
)
_RESERVED_PREFIX = "SSHJOB_"


class JobPaths:
    """Every path of a job, the only place on this side that joins one. The names are `remote/layout.sh`'s."""

    def __init__(self, base_dir: str, key: str):
        self.task_directory = posixpath.join(base_dir, "jobs", key)

    @property
    def published_record(self) -> str:
        """The exit record of the attempt that succeeded; exists on success only."""
        return posixpath.join(self.task_directory, shell.layout()["SJ_RECORD"])

    @property
    def published_log(self) -> str:
        """The log of the attempt that succeeded."""
        return posixpath.join(self.task_directory, shell.layout()["SJ_LOG"])

    @staticmethod
    def in_directory(directory: str, name: str) -> str:
        """A file of one attempt by its name in the layout, SJ_LOG say."""
        return posixpath.join(directory, shell.layout()[name])


def job_key(task_id: str) -> str:
    """A Luigi task id as a directory's name: the same for the same id, different for another, at most 150 bytes."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", task_id).lstrip(".-") or "_"
    if safe == task_id and len(safe) <= 150:
        return safe
    return f"{safe[:133]}_{_digest(task_id)[:16]}"


@dataclasses.dataclass(frozen=True)
class Output:
    """A file or directory on the host that the command makes, at a temporary path until it has succeeded."""

    variable: str
    path: str


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """What is asked for. Times are seconds; a `time_limit` of 0 is none."""

    key: str
    command: str
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    working_directory: str = "~"
    outputs: Sequence[Output] = ()
    publish: bool = False
    time_limit: float = 0
    kill_grace: float = 10
    success_exit_codes: Sequence[int] = (0,)
    submitted_by: str = ""
    submitted_at: str = ""

    def __post_init__(self) -> None:
        _check_command(self.command)
        for name, value in self.environment.items():
            _check_variable(name, value)
        if not (0 <= self.time_limit < math.inf and 0 <= self.kill_grace < math.inf):
            raise ConfigurationError(
                f"time_limit {self.time_limit} and kill_grace {self.kill_grace} must be finite and not negative",
                job=self.key,
                next_step="give seconds, 0 for no limit",
            )
        codes = tuple(self.success_exit_codes)
        if not codes or not all(isinstance(code, int) and 0 <= code <= 255 for code in codes):
            raise ConfigurationError(
                f"success_exit_codes is {codes!r}", job=self.key, next_step="give whole numbers from 0 to 255"
            )
        names = [output.variable for output in self.outputs]
        if len(set(names)) != len(names):
            raise ConfigurationError(
                f"two outputs would share a variable: {', '.join(sorted(names))}",
                job=self.key,
                next_step="give the outputs keys that differ in letters or digits",
            )

    @property
    def digests(self) -> str:
        """Of the command, and of all else that makes it another job. Tell whether a running attempt is this one."""
        circumstances = (
            sorted(self.environment.items()),
            self.working_directory,
            [(output.variable, output.path) for output in self.outputs],
        )
        return f"{_digest(self.command)} {_digest(repr(circumstances))}"

    def spec_text(self) -> str:
        """The file `spec`: read by people, sourced by the supervisor."""
        lines = [
            f"submitted_by={shell.quote(self.submitted_by)}",
            f"submitted_at={shell.quote(self.submitted_at)}",
            f"working_directory={shell.quote_path(self.working_directory)}",
            # POSIX sleep and the shells count in whole seconds
            f"time_limit={math.ceil(self.time_limit) or ''}",
            f"kill_grace={math.ceil(self.kill_grace)}",
            f"success_exit_codes={shell.quote(' '.join(map(str, self.success_exit_codes)))}",
            f"publish={'yes' if self.publish else 'no'}",
            f"tag={_digest(self.key)[:12]}",
        ]
        for number, output in enumerate(self.outputs):
            path = output.path.rstrip("/") or "/"
            name = posixpath.basename(path)
            # tools look at the end of a name; 255 bytes is the longest a name may be
            suffix = f"-{number}.{name}" if len(shell.encode(name)) <= 200 else f"-{number}"
            lines.append(f"output {output.variable} {shell.quote_path(path)} {shell.quote(suffix)}")
        return "\n".join(lines)

    def environment_text(self) -> str:
        """The file `environment`: evaluated by the supervisor, then gone."""
        return "\n".join(f"export {name}={shell.quote(value)}" for name, value in self.environment.items())


def _check_command(command: Any) -> None:
    if not isinstance(command, str) or not command.strip():
        raise ConfigurationError(
            f"the command is {command!r}",
            next_step="let command() return the text of a script, or its #! line and all",
        )
    if "\0" in command:
        raise ConfigurationError("the command contains a NUL byte", next_step="take it out: no shell reads past it")


def _check_variable(name: Any, value: Any) -> None:
    # the value may be a secret: it is in no message
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name of an environment variable",
            next_step="use letters, digits and _, no digit first",
        )
    if name in _SHELL_OWNED or name.startswith(_RESERVED_PREFIX):
        raise ConfigurationError(
            f"the environment variable {name} cannot be set for a job",
            next_step="use another name: shells own this one, or luigi_sshjob does",
        )
    if not isinstance(value, str):
        raise ConfigurationError(
            f"the value of the environment variable {name} is a {type(value).__name__}",
            next_step="make it a str",
        )
    if "\0" in value:
        raise ConfigurationError(
            f"the value of the environment variable {name} contains a NUL byte", next_step="take it out"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(shell.encode(text)).hexdigest()


@dataclasses.dataclass(frozen=True)
class JobRef:
    """One attempt on one host, as the host named it."""

    host: str
    key: str
    attempt: int
    directory: str

    @property
    def id(self) -> str:
        """What SSHJOB_ID is in the command, and what the command line takes."""
        return f"{self.key}/{self.attempt}"


class State(enum.Enum):
    """How an attempt stands, as its host sees it."""

    CLAIMED = "claimed"  # submitted, no supervisor has shown up yet
    RUNNING = "running"
    UNSUPERVISED = "unsupervised"  # the supervisor is gone, the command is not
    ENDED = "ended"  # there is an exit record
    LOST = "lost"
    ELSEWHERE = "elsewhere"  # on another machine that shares the directory
    UNKNOWN = "unknown"  # the directory cannot be seen now

    @property
    def final(self) -> bool:
        """Nothing will change any more."""
        return self in (State.ENDED, State.LOST)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended: succeeded, failed, killed (by a signal), timed_out, cancelled or lost.

    `exit_code` follows the shell, 128 + number for a signal, and is None for a lost job. `log_bytes` is the
    length of the whole log; times are the host's own, in UTC; `cpu_seconds` is user and system time together.
    """

    state: str
    exit_code: int | None = None
    signal: str = ""
    reason: str = ""
    started: str = ""
    ended: str = ""
    log_bytes: int | None = None
    cpu_seconds: float | None = None

    @property
    def succeeded(self) -> bool:
        """The command ended with one of the success exit codes, and its outputs are in place."""
        return self.state == "succeeded"

    @classmethod
    def lost(cls, reason: str) -> Outcome:
        """For an attempt without an exit record."""
        return cls("lost", reason=reason)

    @classmethod
    def parse(cls, record: str) -> Outcome:
        """From the text of an exit record. A field that is not there or is no number is left out."""
        fields: dict[str, str] = {}
        for line in record.split("\n"):
            name, _, value = line.partition(": ")
            # the first counts: a line break inside a value cannot pass for a field
            fields.setdefault(name, value)
        return cls(
            state=fields.get("outcome", "failed"),
            exit_code=_integer(fields.get("exit_code")),
            signal=fields.get("signal", ""),
            reason=fields.get("reason", ""),
            started=fields.get("started", ""),
            ended=fields.get("ended", ""),
            log_bytes=_integer(fields.get("log_bytes")),
            cpu_seconds=_cpu_seconds(fields.get("cpu_time", "")),
        )

    def __str__(self) -> str:
        how = {
            "succeeded": f"succeeded with exit code {self.exit_code}",
            "failed": f"failed with exit code {self.exit_code}",
            "killed": f"was killed by signal {self.signal} (exit code {self.exit_code})",
            "timed_out": "ran longer than its time limit and was ended",
            "cancelled": "was cancelled",
            "lost": "was lost",
        }.get(self.state, self.state)
        return f"{how}: {self.reason}" if self.reason else how


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _cpu_seconds(times: str) -> float | None:
    # as the shells' `times` prints: 0m1.25s 0m0.02s
    found = re.findall(r"(\d+)m(\d+(?:\.\d+)?)s", times)
    return round(sum(int(minutes) * 60 + float(seconds) for minutes, seconds in found), 2) if found else None


@dataclasses.dataclass(frozen=True)
class Observation:
    """What one look at one job brought."""

    state: State
    reason: str = ""
    outcome: Outcome | None = None
    progress: str = ""
    log: bytes = b""
    """The bytes of the log behind the offset that was asked for, as many as fitted."""
