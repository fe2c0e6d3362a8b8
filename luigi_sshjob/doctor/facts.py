"""Measured facts about a host, before they are checked. None, or an empty value, means unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart
from luigi_sshjob.ssh.transports.login_info import LoginInfo


@dataclasses.dataclass(frozen=True)
class NameLookup:
    """Resolution of the host's name on this machine."""

    addresses: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    temporary: bool = False
    """Whether the name service did not respond, which may change."""


@dataclasses.dataclass(frozen=True)
class SessionOpening:
    """Duration of opening a session, and the output of rc files."""

    seconds: float
    preamble: str = ""


@dataclasses.dataclass(frozen=True)
class Latency:
    """Round trips of requests to an open shell, in seconds, and the host's clock."""

    median: float
    longest: float
    clock_ahead: float | None = None
    """Difference to the clock of this machine, accurate to `clock_error`."""
    clock_error: float = 0.0


@dataclasses.dataclass(frozen=True)
class SessionCount:
    """Number of sessions that were open at the same time on one connection."""

    open: int
    refused: bool
    """Whether the server refused one more. If not, no more were tried, or `problem` is the reason."""
    others: int = 0
    """How many of them belong to other processes of the account."""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Survival:
    """Whether a detached process was running `seconds` after the end of the connection that started it."""

    survived: bool | None
    seconds: float = 0.0
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class DirectoryFacts:
    """A directory on the host. Sizes are in bytes."""

    path: str
    writable: bool = False
    problem: str = ""
    free: int | None = None
    size: int | None = None
    files: int | None = None
    """Number of files that can still be created."""
    kind: str = ""
    """Type of the file system."""
    executable: bool | None = None
    """Whether programs in it can be executed."""


@dataclasses.dataclass(frozen=True)
class BaseDirectory:
    """`base_dir`, and the existing directory `location`: itself, or the one in which it will be created."""

    path: str
    location: DirectoryFacts
    mode: str = ""
    own: bool = True
    danger: str = ""
    """Why jobs are refused there, as other accounts could control them."""
    danger_code: str = ""
    """The code of that refusal."""
    writable_parents: tuple[str, ...] = ()
    """Directories above it that other accounts can write, and that are not sticky."""
    foreign_parents: tuple[str, ...] = ()
    """Directories above it that belong to another account than root."""

    @property
    def exists(self) -> bool:
        """Whether it has been created."""
        return self.path == self.location.path


@dataclasses.dataclass(frozen=True)
class Account:
    """The account on the host and its environment."""

    shell: str
    user: str
    home: str
    system: str
    sh: str
    base: BaseDirectory
    measures_memory: bool | None
    """Whether time(1) reports peak memory."""
    missing: tuple[str, ...]
    scope: str
    """systemd's unit of this login, if its login manager knows the login."""
    kill_user_processes: bool | None
    """logind's KillUserProcesses."""
    idle_limit: float | None
    """logind's StopIdleSessionSec; None if there is none, or it is unknown."""
    excluded: bool
    """Whether KillExcludeUsers names the account."""
    lingering: bool
    limiter: str = ""
    """What keeps the limits of a job: "systemd scope", "cgroup", "ulimit -v" or nothing."""
    controllers: tuple[str, ...] = ()
    """Those of the control groups that jobs may have."""


@dataclasses.dataclass(frozen=True)
class Slurm:
    """The Slurm of a host that has sbatch."""

    version: str
    responds: bool
    problem: str = ""
    accounting: bool = True


@dataclasses.dataclass(frozen=True)
class Facts:
    """All measured facts about one host."""

    login: LoginInfo | None
    """None for this machine itself, which has no login to end; nor is there `survival` then."""
    opening: SessionOpening
    latency: Latency
    account: Account
    sessions: SessionCount
    survival: Survival | None
    slurm: Slurm | None
    alternatives: tuple[DirectoryFacts, ...] = ()
    """Other directories that may hold base_dir."""
    slowest: float = 0.0
    """Duration of the slowest request, in seconds."""


def parse_account(parts: Iterable[ResponsePart]) -> Account:
    """Parse the response of `doctor_facts`."""
    parts = list(parts)
    facts = _values(parts)
    user = facts.get("user", "")
    danger = next((part for part in parts if part.kind == "danger"), None)
    return Account(
        shell=facts.get("shell", ""),
        user=user,
        home=facts.get("home", ""),
        system=facts.get("system", ""),
        sh=facts.get("sh", ""),
        base=BaseDirectory(
            facts["base"],
            _directory(facts),
            facts.get("mode", ""),
            facts.get("own", "yes") == "yes",
            danger=quoting.decode(danger.content)[:-1] if danger else "",
            danger_code=danger.value if danger else "",
            writable_parents=_each(parts, "writable_parent"),
            foreign_parents=_each(parts, "foreign_parent"),
        ),
        measures_memory=bool(facts["timer"]) if "timer" in facts else None,
        missing=tuple(part.value for part in parts if part.kind == "missing"),
        scope=facts.get("scope", ""),
        # the format of busctl(1) for a boolean, and for an array of strings
        kill_user_processes={"b true": True, "b false": False}.get(facts.get("kills", "")),
        idle_limit=_idle_limit(facts.get("idle", "")),
        excluded=f'"{user}"' in facts.get("spared", ""),
        lingering=facts.get("linger") == "yes",
        limiter=facts.get("limiter", ""),
        controllers=tuple(facts.get("controllers", "").split()),
    )


def _idle_limit(text: str) -> float | None:
    """Seconds, from the format of busctl(1) for microseconds, where the greatest number means no limit."""
    microseconds = text.removeprefix("t ")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and 0 < int(microseconds) < 2**64 - 1 else None


def parse_directories(parts: Iterable[ResponsePart]) -> tuple[DirectoryFacts, ...]:
    """Parse the response of `doctor_elsewhere`."""
    groups: list[list[ResponsePart]] = []
    for part in parts:
        if part.kind == "place":
            groups.append([])
        if groups:
            groups[-1].append(part)
    return tuple(_directory(_values(group)) for group in groups)


def parse_slurm(parts: Iterable[ResponsePart]) -> Slurm | None:
    """Parse the response of `doctor_slurm`; None if the host has no Slurm."""
    facts = _values(parts)
    if "slurm" not in facts:
        return None
    return Slurm(facts["slurm"] or "Slurm", "answers" in facts, facts.get("silent", ""), "unaccounted" not in facts)


def first_value(parts: Iterable[ResponsePart], kind: str) -> str:
    """Return the first value of a kind, or an empty string."""
    return _values(parts).get(kind, "")


def _values(parts: Iterable[ResponsePart]) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in parts:
        values.setdefault(part.kind, part.value)
    return values


def _each(parts: Iterable[ResponsePart], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.value for part in parts if part.kind == kind))


def _directory(facts: dict[str, str]) -> DirectoryFacts:
    return DirectoryFacts(
        path=facts["place"],
        writable=facts.get("writable") == "yes",
        problem=facts.get("unwritable", ""),
        free=_kibibytes(facts, "free"),
        size=_kibibytes(facts, "size"),
        files=int(facts["files"]) if "files" in facts else None,
        kind=facts.get("kind", ""),
        executable={"yes": True, "no": False}.get(facts.get("runs", "")),
    )


def _kibibytes(facts: dict[str, str], name: str) -> int | None:
    return int(facts[name]) * 1024 if name in facts else None
