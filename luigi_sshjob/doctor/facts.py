"""What was seen of a host, before anybody judges it. None, or empty, is what is not known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from luigi_sshjob.ssh.shell.remote_shell import ResponsePart
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Of the host's name, on this machine."""

    addresses: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    for_now: bool = False
    """The name service did not answer; that may change."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """Of one session: how long it took, and what rc files wrote meanwhile."""

    seconds: float
    preamble: str = ""


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of requests to a shell that is open, in seconds, and the host's clock."""

    median: float
    longest: float
    clock_ahead: float | None = None
    """Of this machine's; at most `clock_error` wrong."""
    clock_error: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sessions:
    """How many could be open at once on the one connection."""

    open: int
    refused: bool
    """Whether the server refused one more. Otherwise no more were tried, or `problem` says why not."""
    others: int = 0
    """Those of them that other processes of the account held."""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Survival:
    """Of a detached process, `seconds` after the connection that it was started from had ended."""

    survived: bool | None
    seconds: float = 0.0
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class DirectoryFacts:
    """A directory on the host. Sizes are bytes."""

    path: str
    writable: bool = False
    problem: str = ""
    free: int | None = None
    size: int | None = None
    files: int | None = None
    """How many more there is room for."""
    kind: str = ""
    runs: bool | None = None
    """Whether programs in it may be run."""


@dataclasses.dataclass(frozen=True)
class Base:
    """`base_dir`: as far as it is there, else the directory that it will be made in is `place`."""

    path: str
    place: DirectoryFacts
    mode: str = ""
    own: bool = True

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return self.path == self.place.path


@dataclasses.dataclass(frozen=True)
class Account:
    """What the account is met with there."""

    shell: str
    user: str
    home: str
    system: str
    sh: str
    base: Base
    timer: bool | None
    """Whether there is a time(1) that tells peak memory."""
    missing: tuple[str, ...]
    """Tools, by name."""
    scope: str
    """What systemd calls our login, where its login manager has noticed it."""
    kills: bool | None
    """logind's KillUserProcesses."""
    spared: bool
    """By KillExcludeUsers."""
    lingers: bool


@dataclasses.dataclass(frozen=True)
class Slurm:
    """None of it where there is no sbatch."""

    version: str
    answers: bool
    problem: str = ""
    accounting: bool = True


@dataclasses.dataclass(frozen=True)
class Facts:
    """All of it: what was asked for, then what was found."""

    route: Route
    arrival: LoginInfo
    opening: Opening
    pace: Latency
    account: Account
    sessions: Sessions
    survival: Survival
    slurm: Slurm | None
    elsewhere: tuple[DirectoryFacts, ...] = ()
    slowest: float = 0.0
    """Of the requests that were made, in seconds."""


def account(parts: Iterable[ResponsePart]) -> Account:
    """What `doctor_facts` answered."""
    said = list(parts)
    facts = _first(said)
    user = facts.get("user", "")
    kills = facts.get("kills", "")
    return Account(
        shell=facts.get("shell", ""),
        user=user,
        home=facts.get("home", ""),
        system=facts.get("system", ""),
        sh=facts.get("sh", ""),
        base=Base(facts["base"], _place(facts), facts.get("mode", ""), facts.get("own", "yes") == "yes"),
        timer=bool(facts["timer"]) if "timer" in facts else None,
        missing=tuple(part.value for part in said if part.kind == "missing"),
        scope=facts.get("scope", ""),
        # as busctl(1) prints a boolean, and an array of strings
        kills={"b true": True, "b false": False}.get(kills),
        spared=f'"{user}"' in facts.get("spared", ""),
        lingers=facts.get("linger") == "yes",
    )


def places(parts: Iterable[ResponsePart]) -> tuple[DirectoryFacts, ...]:
    """What `doctor_elsewhere` answered."""
    groups: list[list[ResponsePart]] = []
    for part in parts:
        if part.kind == "place":
            groups.append([])
        if groups:
            groups[-1].append(part)
    return tuple(_place(_first(group)) for group in groups)


def slurm(parts: Iterable[ResponsePart]) -> Slurm | None:
    """What `doctor_slurm` answered."""
    facts = _first(parts)
    if "slurm" not in facts:
        return None
    return Slurm(
        facts["slurm"] or "Slurm", "answers" in facts, facts.get("silent", ""), accounting="unaccounted" not in facts
    )


def first(parts: Iterable[ResponsePart], kind: str) -> str:
    """The text of a fact, or nothing."""
    return _first(parts).get(kind, "")


def _first(parts: Iterable[ResponsePart]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        found.setdefault(part.kind, part.value)
    return found


def _place(facts: dict[str, str]) -> DirectoryFacts:
    return DirectoryFacts(
        path=facts["place"],
        writable=facts.get("writable") == "yes",
        problem=facts.get("unwritable", ""),
        free=_kibibytes(facts, "free"),
        size=_kibibytes(facts, "size"),
        files=int(facts["files"]) if "files" in facts else None,
        kind=facts.get("kind", ""),
        runs={"yes": True, "no": False}.get(facts.get("runs", "")),
    )


def _kibibytes(facts: dict[str, str], name: str) -> int | None:
    return int(facts[name]) * 1024 if name in facts else None
