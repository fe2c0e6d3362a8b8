"""Checks the directory that holds the jobs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from luigi_sshjob.doctor.facts import BaseDirectory
from luigi_sshjob.doctor.report import CheckResult, Status
from luigi_sshjob.ssh.shell.errors import NEXT_STEPS
from luigi_sshjob.text import format_size

MIN_FREE = 1 << 30  # bytes
_FULL = 10 << 20  # bytes
_MIN_FILES = 10_000
_FULL_MESSAGES = ("No space left", "quota")


def check_base_dir(base: BaseDirectory, setting: str) -> CheckResult:
    """Check that this account, and no other, can write jobs there."""
    name = setting if setting == base.path else f"{setting} ({base.path})"
    measured = {"path": base.path, "exists": base.exists, "writable": base.location.writable, "mode": base.mode}
    alternative = "or set base_dir to a directory that the account can write"
    if base.exists and not base.own:
        remedy = f"give the directory to the account, {alternative}; jobs need a directory of their own account"
        return CheckResult("base_dir", Status.FAIL, f"{name} belongs to another account", remedy, measured)
    if base.danger:
        text, remedy = f"jobs are refused: {base.danger}", NEXT_STEPS[base.danger_code]
        return CheckResult("base_dir", Status.FAIL, text, remedy, measured)
    if not base.location.writable:
        parent = "" if base.exists else f", to be created in {base.location.path},"
        fix = "free some space there" if is_full(base) else "give the account write permission there"
        reason = base.location.problem or "unknown reason"
        text = f"{name}{parent} is not writable: {reason}"
        return CheckResult("base_dir", Status.FAIL, text, f"{fix}, {alternative}", measured)
    if not base.exists:
        text = f"{name} will be created when it is needed, private; {base.location.path} is writable"
        return CheckResult("base_dir", Status.OK, text, measured=measured)
    if base.mode[4:10].strip("-"):
        remedy = f"chmod 700 {shlex.quote(base.path)}; the jobs in it are private in any case"
        text = f"{name} is accessible to other accounts ({base.mode})"
        return CheckResult("base_dir", Status.NOTE, text, remedy, measured)
    privacy = "and private" if base.mode else "but its mode is unknown"
    return CheckResult("base_dir", Status.OK, f"{name} is writable {privacy}", measured=measured)


def check_parents(base: BaseDirectory) -> Iterator[CheckResult]:
    """Report directories above it in which another account can put another directory in its place.

    That is no error, because projects share directories whose members trust each other.
    """
    risks = [(path, "can be written by other accounts") for path in base.writable_parents]
    risks += [(path, "belongs to another account") for path in base.foreign_parents]
    if not risks:
        return
    text = ", ".join(f"{path} {how}" for path, how in risks)
    paths = " ".join(map(shlex.quote, base.writable_parents))
    chmod = f"`chmod +t {paths}` or `chmod go-w {paths}`, or " if paths else ""
    yield CheckResult(
        "parents",
        Status.NOTE,
        f"other accounts can replace {base.path}, and read and control its jobs: {text}",
        f"{chmod}set base_dir to a directory below your home, unless you trust them",
        {"writable": list(base.writable_parents), "foreign": list(base.foreign_parents)},
    )


def check_space(base: BaseDirectory) -> CheckResult:
    """Check the free space for logs and outputs."""
    location = base.location
    measured = {"free": location.free, "size": location.size, "files": location.files, "file_system": location.kind}
    if location.free is None:
        return CheckResult("space", Status.UNKNOWN, "unknown: df reports nothing", measured=measured)
    of = f" of {format_size(location.size)}" if location.size else ""
    kind = f", {location.kind}" if location.kind else ""
    text = f"{format_size(location.free)} free{of}{kind}, at {location.path}"
    few_files = location.files is not None and location.files < _MIN_FILES
    if few_files:
        text += f"; only {location.files} more files (inodes)"
    if location.free < _FULL or is_full(base):
        text += f"; {location.problem}" if location.problem else ""
        remedy = "free some space or quota, or set base_dir to another file system"
        return CheckResult("space", Status.FAIL, text, remedy, measured)
    if location.free < MIN_FREE or few_files:
        remedy = "free some space, or set base_dir to another file system: a job loses the log that does not fit"
        return CheckResult("space", Status.NOTE, text, remedy, measured)
    return CheckResult("space", Status.OK, text, measured=measured)


def check_noexec(base: BaseDirectory) -> CheckResult:
    """Check whether programs below base_dir can be executed. Jobs do not need it, as their interpreter is elsewhere."""
    location = base.location
    measured = {"programs_run": location.executable}
    if location.executable:
        return CheckResult("noexec", Status.OK, f"programs in {location.path} can be executed", measured=measured)
    if location.executable is None:
        text = "unknown: no test program could be created"
        return CheckResult("noexec", Status.UNKNOWN, text, measured=measured)
    return CheckResult(
        "noexec",
        Status.NOTE,
        f"programs in {location.path} cannot be executed; jobs can, also with a #! line, through their interpreter",
        "none needed, unless a job creates programs or a virtual environment there and runs them: use another",
        measured,
    )


def is_full(base: BaseDirectory) -> bool:
    """Whether writing failed because of a full file system or quota."""
    return any(message.lower() in base.location.problem.lower() for message in _FULL_MESSAGES)
