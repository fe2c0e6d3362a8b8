"""Judges the machine: its tools, what becomes of processes, and whether it leads to a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from luigi_sshjob.doctor.facts import Account, Slurm, Survival
from luigi_sshjob.doctor.report import CheckResult, Status, seconds

# What is lost without it; what no job can do without stands below.
_LOST = {
    "cp": "no copy()",
    "dd": "no file can be written or put, and no log longer than a mebibyte be followed",
    "dirname": "no mkdir() of a single directory",
    "find": "no listdir(), and what killed writers have left is not tidied up",
    "grep": "a cancelled job's processes that have called setsid are not found",
    "grep -z": "a cancelled job's processes that have called setsid are not found",
    "ls": "no size() where there is no stat either",
    "sha256sum": "no checksum=True",
    "stat": "mtime() and resumed transfers",
    "tail": "a broken get() begins anew",
    "tar": "no put() and get() of directories",
    "touch": "no preserve=True",
    "chmod": "no preserve=True",
    "wc": "no bytes of log in the record",
    "/proc": "children of a job that have called setsid are not found, and a reboot is told less surely",
}
_NEEDED = {
    "awk": "no job can be cancelled or end at its time limit",
    "cat": "no job can be submitted",
    "date": "no job can be submitted",
    "kill": "no job can be cancelled",
    "mkdir": "no job can be submitted",
    "mv": "no job can be submitted",
    "rm": "no job can be submitted",
    "sleep": "no job can be waited for",
}


def judge_tools(account: Account) -> Iterator[CheckResult]:
    """One finding for each that is missing."""
    missing = [tool for tool in account.missing if tool in _LOST or tool in _NEEDED]
    for tool in missing:
        verdict = Status.FAIL if tool in _NEEDED else Status.NOTE
        lost = _NEEDED.get(tool) or _LOST[tool]
        remedy = "" if tool == "/proc" else f"have {tool} installed" if tool != "grep -z" else "have GNU grep installed"
        yield CheckResult("tools", verdict, f"no {tool}: {lost}", remedy, {"missing": tool})
    if account.timer is False:
        remedy = "have GNU time installed, as /usr/bin/time (Debian: apt-get install time)"
        yield CheckResult(
            "tools", Status.NOTE, "no GNU time: no peak memory in the record", remedy, {"missing": "time"}
        )
    if account.timer is not False and not missing:
        text = "all there" if account.timer else "all there; of time(1) it is not known whether it is GNU's"
        yield CheckResult("tools", Status.OK, text, measured={"missing": None})


def judge_detaching(account: Account) -> CheckResult:
    """Whether a job can be started apart from the session."""
    if "setsid" not in account.missing:
        return CheckResult("setsid", Status.OK, "there")
    if "nohup" in account.missing:
        text = "neither setsid nor nohup is there: no job can be started"
        return CheckResult("setsid", Status.FAIL, text, "have util-linux or coreutils installed")
    text = "not there: nohup is used; a signal to all of a job's process group reaches its supervisor, too"
    return CheckResult("setsid", Status.NOTE, text, "have it installed (util-linux)")


def judge_logout(survival: Survival, account: Account) -> CheckResult:
    """Whether jobs outlive the connection they were started from."""
    measured = {
        "survived": survival.survived,
        "seconds": round(survival.seconds, 2),
        "kill_user_processes": account.kills,
        "linger": account.lingers,
    }
    if survival.survived:
        text = f"a process is there {seconds(survival.seconds)} after the connection it was started from has ended"
        return CheckResult("logout", Status.OK, text, measured=measured)
    if survival.survived is False:
        user = account.user or "the account"
        text = "a process does not outlive the connection it was started from: no job would"
        if account.kills:
            text += "; KillUserProcesses of systemd's logind is on"
        remedy = (
            f"ask its administrator for KillUserProcesses=no, or KillExcludeUsers={user}, in logind.conf; lingering "
            "(loginctl enable-linger) does not spare what a login has started"
        )
        return CheckResult("logout", Status.FAIL, text, remedy, measured)
    text = f"not known whether processes survive: {survival.problem}"
    if account.kills and not account.spared and account.scope:
        remedy = f"ask its administrator for KillUserProcesses=no, or KillExcludeUsers={account.user}, in logind.conf"
        text += "; KillUserProcesses of systemd's logind is on, which speaks against it"
        return CheckResult("logout", Status.UNKNOWN, text, remedy, measured)
    if account.kills is False:
        text += "; KillUserProcesses of systemd's logind is off, which speaks for it"
    remedy = "log out after a job has begun, and see it run when you are back"
    return CheckResult("logout", Status.UNKNOWN, text, remedy, measured)


def judge_slurm(slurm: Slurm | None, launcher: str) -> CheckResult:
    """Whether jobs can go through it, and whether they are to."""
    wanted = launcher == "slurm"
    if slurm is None:
        text = "not there: jobs run on the host itself"
        if wanted:
            return CheckResult("slurm", Status.FAIL, f"{text}, but launcher is slurm", "set launcher = nohup")
        return CheckResult("slurm", Status.OK, text, measured={"there": False})
    measured = {"there": True, "version": slurm.version, "answers": slurm.answers, "accounting": slurm.accounting}
    if not slurm.answers:
        text = f"{slurm.version} does not answer: {slurm.problem}"
        remedy = "ask its administrator whether slurmctld runs, and whether this is a login node of the cluster"
        return CheckResult("slurm", Status.FAIL if wanted else Status.NOTE, text, remedy, measured)
    text = f"{slurm.version} answers; whether its nodes share base_dir is not known"
    if not slurm.accounting:
        text += "; no sacct: of a job that ended without a record less is known"
    if wanted:
        return CheckResult("slurm", Status.OK, text, measured=measured)
    remedy = "run jobs on its nodes, not on this one: launcher = slurm"
    return CheckResult("slurm", Status.NOTE, text, remedy, measured)
