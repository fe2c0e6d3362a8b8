"""Checks the operating system: tools, detached processes and Slurm."""

from __future__ import annotations

from collections.abc import Iterator

from luigi_sshjob.doctor.facts import Account, Slurm, Survival
from luigi_sshjob.doctor.report import CheckResult, Status
from luigi_sshjob.text import format_duration, format_seconds

# The consequence of each missing tool, for those that jobs can do without and for those that they need.
_OPTIONAL = {
    "cp": "copy() fails",
    "dd": "files cannot be written or uploaded, and logs above one mebibyte cannot be followed",
    "dirname": "mkdir() of a single directory fails",
    "find": "listdir() fails, and temporary files of killed writers are not removed",
    "grep": "processes of a cancelled job that have called setsid are not found",
    "grep -z": "processes of a cancelled job that have called setsid are not found",
    "ls": "size() fails if stat is missing, too",
    "sha256sum": "checksum=True fails",
    "stat": "mtime() and resumed transfers fail",
    "tail": "an interrupted get() starts from the beginning",
    "tar": "put() and get() of directories fail, and jobs have no project",
    "touch": "preserve=True fails",
    "chmod": "preserve=True fails",
    "wc": "the record does not contain the size of the log",
    "/proc": "child processes that have called setsid are not found, and a reboot is detected less reliably",
}
_REQUIRED = {
    "awk": "jobs cannot be cancelled or end at their time limit",
    "cat": "jobs cannot be submitted",
    "date": "jobs cannot be submitted",
    "kill": "jobs cannot be cancelled",
    "mkdir": "jobs cannot be submitted",
    "mv": "jobs cannot be submitted",
    "rm": "jobs cannot be submitted",
    "sleep": "waiting for jobs fails",
}


def check_tools(account: Account) -> Iterator[CheckResult]:
    """Yield one result for each missing tool."""
    missing = [tool for tool in account.missing if tool in _OPTIONAL or tool in _REQUIRED]
    for tool in missing:
        status = Status.FAIL if tool in _REQUIRED else Status.NOTE
        consequence = _REQUIRED.get(tool) or _OPTIONAL[tool]
        remedy = "" if tool == "/proc" else f"install {'GNU grep' if tool == 'grep -z' else tool}"
        yield CheckResult("tools", status, f"no {tool}: {consequence}", remedy, {"missing": tool})
    if account.measures_memory is False:
        remedy = "install GNU time as /usr/bin/time (Debian: apt-get install time)"
        text = "no GNU time: the record does not contain the peak memory"
        yield CheckResult("tools", Status.NOTE, text, remedy, {"missing": "time"})
    elif not missing:
        unknown = "" if account.measures_memory else "; whether time(1) is GNU's is unknown"
        yield CheckResult("tools", Status.OK, f"complete{unknown}", measured={"missing": None})


def check_setsid(account: Account) -> CheckResult:
    """Check whether a job can be started in a session of its own."""
    if "setsid" not in account.missing:
        return CheckResult("setsid", Status.OK, "installed")
    if "nohup" in account.missing:
        text = "neither setsid nor nohup is installed: jobs cannot be started"
        return CheckResult("setsid", Status.FAIL, text, "install util-linux or coreutils")
    text = "not installed: nohup is used, and a signal to a job's process group also reaches its supervisor"
    return CheckResult("setsid", Status.NOTE, text, "install it (util-linux)")


def check_logout(survival: Survival, account: Account) -> CheckResult:
    """Check whether jobs outlive the connection that started them."""
    measured = {
        "survived": survival.survived,
        "seconds": round(survival.seconds, 2),
        "kill_user_processes": account.kill_user_processes,
        "linger": account.lingering,
    }
    if survival.survived:
        text = f"a process still runs {format_seconds(survival.seconds)} after the end of its connection"
        return CheckResult("logout", Status.OK, text, measured=measured)
    fix = (
        "ask the administrator for KillUserProcesses=no, or "
        f"KillExcludeUsers={account.user or 'the account'}, in logind.conf"
    )
    if survival.survived is False:
        text = "processes do not outlive the connection that started them, so jobs would be killed"
        if account.kill_user_processes:
            text += "; KillUserProcesses of systemd's logind is on"
        remedy = f"{fix}; lingering (loginctl enable-linger) does not protect processes of a login"
        return CheckResult("logout", Status.FAIL, text, remedy, measured)
    text = f"unknown whether processes survive: {survival.problem}"
    if account.kill_user_processes and not account.excluded and account.scope:
        text += "; they probably do not, as KillUserProcesses of systemd's logind is on"
        return CheckResult("logout", Status.UNKNOWN, text, fix, measured)
    if account.kill_user_processes is False:
        text += "; they probably do, as KillUserProcesses of systemd's logind is off"
    remedy = "log out after a job has started, log in again and check that it still runs"
    return CheckResult("logout", Status.UNKNOWN, text, remedy, measured)


def check_idle_limit(account: Account) -> Iterator[CheckResult]:
    """Warn of a limit for idle logins, which would end the shared connection, and jobs with KillUserProcesses."""
    if account.idle_limit is not None:
        limit = format_duration(account.idle_limit)
        text = f"systemd's logind ends logins that are idle for {limit} (StopIdleSessionSec)"
        kills = account.kill_user_processes and not account.excluded
        yield CheckResult(
            "idle limit",
            Status.NOTE,
            f"{text}, and with them jobs (KillUserProcesses)" if kills else text,
            "ask the administrator for StopIdleSessionSec=infinity in logind.conf; a connection that has ended is "
            "opened again when it is needed",
            {"seconds": account.idle_limit},
        )


def check_limits(account: Account) -> CheckResult:
    """Say what keeps the memory_limit and cpu_limit of jobs."""
    measured = {"limited_by": account.limiter or None}
    if account.limiter in ("systemd scope", "cgroup"):
        kept = [f"{name}_limit" for name in ("memory", "cpu") if name in account.controllers]
        text = f"{' and '.join(kept)} of jobs {'are' if kept[1:] else 'is'} kept by a {account.limiter}"
        if not kept[1:]:
            text += ", which the host allows to limit nothing else"
        return CheckResult("limits", Status.OK, text, measured=measured)
    if account.limiter:
        text = f"memory_limit is kept by {account.limiter}, for each process of a job; cpu_limit is not kept"
    else:
        text = "neither memory_limit nor cpu_limit of jobs is kept: a job with a memory_limit is refused"
    if account.scope and not account.lingering:
        # only then scopes of systemd outlive the logins of the account
        remedy = "loginctl enable-linger, so that systemd limits whole jobs"
        return CheckResult("limits", Status.NOTE, text, remedy, measured)
    return CheckResult("limits", Status.OK, text, measured=measured)


def check_slurm(slurm: Slurm | None, launcher: str) -> CheckResult:
    """Check whether jobs can be submitted to Slurm, and whether they should be."""
    wanted = launcher == "slurm"
    if slurm is None:
        if wanted:
            return CheckResult("slurm", Status.FAIL, "not installed, but launcher is slurm", "set launcher = nohup")
        text = "not installed: jobs run on the host itself"
        return CheckResult("slurm", Status.OK, text, measured={"there": False})
    measured = {"there": True, "version": slurm.version, "answers": slurm.responds, "accounting": slurm.accounting}
    if not slurm.responds:
        text = f"{slurm.version} does not respond: {slurm.problem}"
        remedy = "ask the administrator whether slurmctld runs, and whether the host is a login node of the cluster"
        return CheckResult("slurm", Status.FAIL if wanted else Status.NOTE, text, remedy, measured)
    text = f"{slurm.version} responds; whether its nodes share base_dir is unknown"
    if not slurm.accounting:
        text += "; no sacct: less is known about a job that ended without a record"
    if wanted:
        return CheckResult("slurm", Status.OK, text, measured=measured)
    remedy = "run jobs on its nodes, not on this host: launcher = slurm"
    return CheckResult("slurm", Status.NOTE, text, remedy, measured)
