"""HTCondor: `condor_submit` runs the supervisor on a machine of the pool whose submit machine is the host.

The names of attributes and states are those of the appendix "Job ClassAd Attributes" of the manual of HTCondor 23; what
the commands print was recorded from 23.9.6. An id is SCHEDD#CLUSTER.PROCESS, or SCHEDD#CLUSTER for all jobs of a
cluster, because each submit machine has a queue of its own, with its own numbers.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from luigi_sshjob.jobs.launchers.base import LaunchOptions, LaunchSpec
from luigi_sshjob.jobs.launchers.htcondor_description import EVICTED, SUBMIT, description
from luigi_sshjob.jobs.launchers.scheduler import Answer, Phase, Refusal, Scheduler, SchedulerRow, Submitted, Unreadable

_ATTRIBUTES = (
    "GlobalJobId,JobStatus,SshjobName,SshjobRequeue,RemoteHost,LastRemoteHost,HoldReason,RemoveReason,LastRejMatchReason"
    ",ExitBySignal,ExitReason,NumJobStarts,JobCurrentReconnectAttempt"
)
# condor_q -json prints nothing if there are no jobs. -totals shows that a schedd has answered, which one, and how many
# jobs it counts.
_QUEUE = f"command condor_q -json -attributes {_ATTRIBUTES} WHICH && command condor_q -totals WHICH"
_NUMBERS = '(set --; for one in $ids; do set -- "$@" "${one##*#}"; done; '
_TOTALS = re.compile(r"^-- Schedd: (?P<schedd>\S+) : .*\n(Total for query: )?(?P<jobs>\d+) jobs; ", re.MULTILINE)
_GLOBAL_ID = re.compile(r"(\S+#\d+\.\d+)#\d+")

_STATES = {
    1: ("Idle", Phase.WAITING),
    2: ("Running", Phase.RUNNING),
    3: ("Removed", Phase.ENDING),
    4: ("Completed", Phase.OVER),
    5: ("Held", Phase.WAITING),
    6: ("Transferring Output", Phase.ENDING),
    7: ("Suspended", Phase.RUNNING),
}
_SUBMITTED = re.compile(r"^(\d+)\.0 - \1\.(\d+)\n", re.MULTILINE)
_FINAL = re.compile(
    r"newline in a path|Parse error in expression|is invalid, must eval"
    r"|Invalid accounting_group|I don't know about the '.*' universe"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HTCondor(Scheduler):
    """A scheduler whose options are submit commands, and `requeue`, which lets HTCondor start a job again."""

    def launch(self, options: LaunchOptions) -> LaunchSpec:
        """Refuses commands that would change what is run or where it is found. Raises `ConfigurationError`."""
        return dataclasses.replace(self.spec(options, *description(options)), term_waits=bool(options.warning))

    def submitted_id(self, answer: Answer) -> str | None:
        """Return `SCHEDD#5.0` for a single job, `SCHEDD#5` for a cluster of several."""
        totals, found = _TOTALS.search(answer.stdout), _SUBMITTED.search(answer.stdout)
        if not totals or not found:
            return None
        return f"{totals['schedd']}#{found[1]}" + ("" if found[2] != "0" else ".0")

    def refusal(self, answer: Answer) -> Refusal:
        """Errors in the description are final; limits and requirements of the site are not."""
        return Refusal.FINAL if _FINAL.search(answer.stderr) else Refusal.TRANSIENT

    def element(self, array: str, index: int) -> str:
        """Return `SCHEDD#5.3` for the fourth job of the cluster `SCHEDD#5`."""
        return f"{array}.{index}"

    def is_from(self, row: SchedulerRow, submitted: Submitted) -> bool:
        """Compare the attribute SshjobName and the process number."""
        return row.name == f"{submitted.name}@{submitted.tag}" and row.id.endswith(f".{submitted.index or 0}")

    def parse_listing(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable` if there are fewer jobs than the schedd counts."""
        return _queue(answer)[1]

    def parse_query(self, answer: Answer, ids: Sequence[str]) -> dict[str, SchedulerRow | None]:
        """A schedd denies knowing its own jobs if it does not count them. It forgets jobs that have left the queue."""
        schedd, rows = _queue(answer)
        known = {row.id: row for row in rows}
        return {one: known.get(one) for one in ids if one in known or one.rpartition("#")[0] == schedd}

    def parse_history(self, answer: Answer) -> list[SchedulerRow]:
        """All jobs of the history have left the queue."""
        if answer.status != 0:
            raise Unreadable(answer.message)
        return [dataclasses.replace(row, phase=Phase.OVER) for row in _rows(answer.stdout)]


HTCONDOR = HTCondor(
    name="htcondor",
    title="HTCondor",
    options_attribute="condor_options",
    limit_options={"memory_limit": "request_memory of condor_options", "cpu_limit": "request_cpus of condor_options"},
    submit=SUBMIT,
    start_timeout=30.0,
    listing=_QUEUE.replace("WHICH", "-constraint 'SshjobName =!= undefined'"),
    query=_NUMBERS + _QUEUE.replace("WHICH", '"$@"') + ")",
    # from the end of the history; without a limit, an unknown id would have all of it read
    history=f'{_NUMBERS}command condor_history -json -attributes {_ATTRIBUTES} -limit $# -scanlimit 20000 "$@")',
    # condor_rm sends SIGTERM to the supervisor only, and SIGKILL to all processes after job_max_vacate_time
    signal="",
    # another schedd may have a job of the account with the same number
    cancel="for id in $ids; do size=$((${#id} + 1));"
    ' command condor_rm -constraint "substr(GlobalJobId, 0, $size) == \\"$id#\\"'
    ' || substr(GlobalJobId, 0, $size) == \\"$id.\\""; done',
    dropped_variables=("_CONDOR_CONDOR_Q_*", "_condor_CONDOR_Q_*", "_CONDOR_SUBMIT_*", "_condor_SUBMIT_*"),
    job_id="""$(sed -n 's/^GlobalJobId = "\\(.*\\)#[0-9]*"$/\\1/p' "$_CONDOR_JOB_AD")""",
    index="0",
    restarts='$(($(sed -n "s/^NumShadowStarts = //p" "$_CONDOR_JOB_AD") - 1))',
)


def _queue(answer: Answer) -> tuple[str, list[SchedulerRow]]:
    """Return the schedd that has answered, and its jobs. Raises `Unreadable`."""
    totals = _TOTALS.search(answer.stdout)
    if answer.status != 0 or not totals:
        raise Unreadable(answer.message[:500])
    rows = _rows(answer.stdout[: totals.start()].strip() or "[]")
    if len(rows) < int(totals["jobs"]):
        raise Unreadable(f"{len(rows)} of {totals['jobs']} jobs")
    return totals["schedd"], rows


def _rows(text: str) -> list[SchedulerRow]:
    try:
        ads = json.loads(text)
    except ValueError:
        raise Unreadable(f"not JSON: {text[:200]!r}") from None
    if not isinstance(ads, list) or not all(isinstance(ad, dict) for ad in ads):
        raise Unreadable(f"not a list of jobs: {text[:200]!r}")
    return [_row(ad) for ad in ads]


def _row(ad: Mapping[str, Any]) -> SchedulerRow:
    """Return the job of a ClassAd, in which undefined attributes are missing. Raises `Unreadable`."""
    found, status = _GLOBAL_ID.fullmatch(str(ad.get("GlobalJobId"))), ad.get("JobStatus")
    if not found or not isinstance(status, int):
        raise Unreadable(f"a job without an id or a status: {dict(ad)!r}")
    state, phase = _STATES.get(status, (f"JobStatus {status}", Phase.RUNNING))
    starts = ad.get("NumJobStarts") or 0
    refused = starts > 1 and not ad.get("SshjobRequeue")
    reason = {
        1: "evicted" if starts else ad.get("LastRejMatchReason"),
        2: "no connection to the machine" if ad.get("JobCurrentReconnectAttempt") else "",
        3: ad.get("RemoveReason"),
        4: ad.get("ExitReason") if ad.get("ExitBySignal") else "evicted, and started again" if refused else "",
        5: ad.get("HoldReason"),
    }.get(status)
    reason = " ".join(str(reason or "").split())
    if (refused and status == 4) or (status == 3 and f"expression '{EVICTED}'" in reason):
        # of a machine that was lost HTCondor says the same
        state = state if ad.get("JobCurrentReconnectAttempt") else "EVICTED"
    outcome = "killed" if ad.get("ExitBySignal") else "lost"
    if status == 3:  # the texts are HTCondor's own; other policies are the site's
        outcome = "cancelled" if "(by user " in reason else "lost" if "PeriodicRemove" in reason else "killed"
    return SchedulerRow(
        found[1],
        phase,
        state,
        reason=reason,
        nodes=str(ad.get("RemoteHost") or ad.get("LastRemoteHost") or "").rpartition("@")[2],
        name=str(ad.get("SshjobName", "")),
        outcome=outcome,
        # of a second start, which is not allowed, the supervisor exits at once without a record
        finished=status == 4 and ad.get("ExitBySignal") is False and not refused,
        hopeless=status == 5,
    )
