"""Jobs as data: where one lies on its host, how it stands, how it ended. No I/O."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import posixpath
import re
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.remote import quoting, scripts


class JobPaths:
    """Every path of a job, the only place on this side that joins one. The names are `remote/common/layout.sh`'s."""

    def __init__(self, base_dir: str, key: str):
        self.task_directory = posixpath.join(quoting.below_home(checked_base_dir(base_dir)), "jobs", key)

    @property
    def published_record(self) -> str:
        """The exit record of the attempt that succeeded; exists on success only."""
        return posixpath.join(self.task_directory, scripts.layout()["SJ_RECORD"])

    @property
    def published_log(self) -> str:
        """The log of the attempt that succeeded."""
        return posixpath.join(self.task_directory, scripts.layout()["SJ_LOG"])

    @staticmethod
    def in_directory(directory: str, name: str) -> str:
        """A file of one attempt by its name in the layout, SJ_LOG say."""
        return posixpath.join(directory, scripts.layout()[name])


def checked_base_dir(base_dir: Any) -> str:
    """Raises `ConfigurationError` for what is no path. "" would be the host's root directory."""
    if not isinstance(base_dir, str) or not base_dir or "\0" in base_dir:
        raise ConfigurationError(
            f"base_dir must be a path: {base_dir!r}", next_step="name a directory of the account on the host"
        )
    return base_dir


def job_key(task_id: str) -> str:
    """A Luigi task id as a directory's name: the same for the same id, different for another, at most 150 bytes."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", task_id).lstrip(".-") or "_"
    if safe == task_id and len(safe) <= 150:
        return safe
    return f"{safe[:133]}_{digest(task_id)[:16]}"


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(quoting.encode(text)).hexdigest()


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
    QUEUED = "queued"  # a scheduler has it
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

    `exit_code` follows the shell, 128 + number for a signal; `signal` is the name of the one that ended the command,
    empty for a command's own `exit 137`. `exit_code` is None for a lost job. `log_bytes` is the length of the whole
    log; times are the host's own, in UTC; `cpu_seconds` is user and system time together; `peak_memory` is that of the
    largest process in bytes, None where the host has no time(1) that tells. `scheduler` is a scheduler's own word for
    an end that came from it, Slurm's NODE_FAIL or PREEMPTED say, REFUSED where it did not take the job.
    """

    state: str
    exit_code: int | None = None
    signal: str = ""
    reason: str = ""
    started: str = ""
    ended: str = ""
    log_bytes: int | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    scheduler: str = ""

    @property
    def succeeded(self) -> bool:
        """The command ended with one of the success exit codes, and its outputs are in place."""
        return self.state == "succeeded"

    @classmethod
    def lost(cls, reason: str) -> Outcome:
        """For an attempt without an exit record."""
        return cls("lost", reason=reason)

    @classmethod
    def parse(cls, record: str) -> Outcome | None:
        """From the text of an exit record; None where it is none. A number that is none is left out."""
        fields: dict[str, str] = {}
        for line in record.split("\n"):
            name, _, value = line.partition(": ")
            # the first counts: a line break inside a value cannot pass for a field
            fields.setdefault(name, value)
        if "outcome" not in fields:
            return None
        return cls(
            state=fields["outcome"],
            exit_code=_integer(fields.get("exit_code")),
            signal=fields.get("signal", ""),
            reason=fields.get("reason", ""),
            started=fields.get("started", ""),
            ended=fields.get("ended", ""),
            log_bytes=_integer(fields.get("log_bytes")),
            cpu_seconds=_cpu_seconds(fields.get("cpu_time", "")),
            peak_memory=_kibibytes(fields.get("peak_memory", "")),
            scheduler=fields.get("scheduler", ""),
        )

    def __str__(self) -> str:
        how = {
            "succeeded": f"succeeded with exit code {self.exit_code}",
            "failed": "failed" if self.exit_code is None else f"failed with exit code {self.exit_code}",
            "killed": f"was killed by signal {self.signal} (exit code {self.exit_code})",
            "timed_out": "ran longer than its time limit and was ended",
            "cancelled": "was cancelled",
            "lost": "was lost",
        }.get(self.state, self.state)
        return f"{how}: {self.reason}" if self.reason else how


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _kibibytes(text: str) -> int | None:
    number = _integer(text.removesuffix(" KiB"))
    return None if number is None else number * 1024


def _cpu_seconds(times: str) -> float | None:
    # as the shells' `times` prints: 0m1.25s 0m0.02s
    found = re.findall(r"(\d+)m(\d+(?:\.\d+)?)s", times)
    return round(sum(int(minutes) * 60 + float(seconds) for minutes, seconds in found), 2) if found else None


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """What one look at one job brought."""

    state: State
    reason: str = ""
    outcome: Outcome | None = None
    progress: str = ""
    log: bytes = b""
    """The bytes of the log behind the offset that was asked for, as many as fitted."""
    more: bool = False
    """Whether that was not all there was."""
    running_for: int | None = None
    """Seconds since it began, by its host's own clock; None where that does not say."""
