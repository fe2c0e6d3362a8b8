"""Judges the place where jobs are to live."""

from __future__ import annotations

from luigi_sshjob.doctor.facts import Base
from luigi_sshjob.doctor.report import CheckResult, Status, size

LITTLE_ROOM = 1 << 30  # bytes
_NO_ROOM = 10 << 20
_FEW_FILES = 10_000
_FULL = ("No space left", "quota")


def judge_base(base: Base, asked_for: str) -> CheckResult:
    """Whether jobs can be written there, by this account alone."""
    name = asked_for if asked_for == base.path else f"{asked_for} ({base.path})"
    measured = {"path": base.path, "exists": base.exists, "writable": base.place.writable, "mode": base.mode}
    elsewhere = "or set base_dir to a directory that the account can write"
    if base.exists and not base.own:
        remedy = f"give the account that directory, {elsewhere}; jobs are not put into another account's"
        return CheckResult("base_dir", Status.FAIL, f"{name} belongs to another account", remedy, measured)
    if not base.place.writable:
        where = "" if base.exists else f", and would be made in {base.place.path}"
        remedy = f"make room there, {elsewhere}" if is_full(base) else f"let the account write there, {elsewhere}"
        why = base.place.problem or "nobody knows why"
        return CheckResult(
            "base_dir", Status.FAIL, f"{name}{where}: nothing can be written there: {why}", remedy, measured
        )
    if not base.exists:
        text = f"{name} will be made, private, when it is first needed: {base.place.path} is writable"
        return CheckResult("base_dir", Status.OK, text, measured=measured)
    if base.mode[4:10].strip("-"):
        remedy = f"chmod 700 {base.path}; what is in it is private all the same"
        return CheckResult("base_dir", Status.NOTE, f"{name} is open to others ({base.mode})", remedy, measured)
    if not base.mode:
        return CheckResult(
            "base_dir", Status.OK, f"{name} is writable; whether it is private is not known", "", measured
        )
    return CheckResult("base_dir", Status.OK, f"{name} is writable and private", measured=measured)


def judge_room(base: Base) -> CheckResult:
    """For logs and outputs."""
    place = base.place
    measured = {"free": place.free, "size": place.size, "files": place.files, "file_system": place.kind}
    if place.free is None:
        return CheckResult("space", Status.UNKNOWN, "not known: df does not say", measured=measured)
    of = f" of {size(place.size)}" if place.size else ""
    kind = f", {place.kind}" if place.kind else ""
    text = f"{size(place.free)} free{of}{kind}, at {place.path}"
    if place.files is not None and place.files < _FEW_FILES:
        text += f"; no more than {place.files} new files (inodes)"
    if place.free < _NO_ROOM or is_full(base):
        text += f"; {place.problem}" if place.problem else ""
        remedy = "make room, also below a quota, or set base_dir to another file system"
        return CheckResult("space", Status.FAIL, text, remedy, measured)
    if place.free < LITTLE_ROOM or (place.files is not None and place.files < _FEW_FILES):
        remedy = "make room, or set base_dir to another file system: a job whose log has no room for it loses that"
        return CheckResult("space", Status.NOTE, text, remedy, measured)
    return CheckResult("space", Status.OK, text, measured=measured)


def judge_noexec(base: Base) -> CheckResult:
    """Whether programs below base_dir may be run. Jobs do not need it: their interpreter is."""
    measured = {"programs_run": base.place.runs}
    if base.place.runs:
        return CheckResult("noexec", Status.OK, f"programs run from {base.place.path}", measured=measured)
    if base.place.runs is None:
        return CheckResult("noexec", Status.UNKNOWN, "not known: no program could be put there", measured=measured)
    return CheckResult(
        "noexec",
        Status.NOTE,
        f"no program runs from {base.place.path}; jobs do, also those with a #! line, as their interpreter is started",
        "nothing, unless a job puts a program or a virtual environment there and runs it: let it do so elsewhere",
        measured,
    )


def is_full(base: Base) -> bool:
    """Whether that is why nothing could be written."""
    return any(word.lower() in base.place.problem.lower() for word in _FULL)
