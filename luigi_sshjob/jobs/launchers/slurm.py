"""Slurm: `sbatch` runs the supervisor on a node of the cluster whose login node is the host.

Options, formats and states are those of sbatch(1), squeue(1), sacct(1) and scancel(1) of Slurm 22.05 and 24.11, and as
recorded in `tests/jobs/launchers/recorded/slurm`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

from luigi_sshjob.jobs.launchers.base import LaunchOptions, LaunchSpec
from luigi_sshjob.jobs.launchers.scheduler import (
    Answer,
    Phase,
    Refusal,
    Scheduler,
    SchedulerRow,
    Submitted,
    Unreadable,
)
from luigi_sshjob.jobs.launchers.slurm_options import given_options, option_word

_SUBMIT = (
    '{ command sbatch --parsable --job-name="$name" --chdir="$directory" --output=/dev/null ${last:+"--array=0-$last"}'
    ' {options} "$@" '
)
# A plugin of the site may send a job to another cluster, where nothing would find it: sbatch then prints ID;CLUSTER.
_NOT_ELSEWHERE = (
    '|| command echo "sbatch: exit status $?" >&2; } | while IFS= read -r line; do command printf "%s\\n" "$line";'
    ' case $line in ([1-9]*";"?*) command scancel --clusters="${line#*;}" "${line%%;*}" >&2 &&'
    ' command echo "sbatch sent the job to the cluster ${line#*;}, where it was cancelled" >&2 ;; esac; done'
)
# A reason may contain "|"; a directory may, too, but not "//".
_SQUEUE = 'command squeue --all --noheader --array --states=all --format="%i|%T|%S|%N|%j|%Z|//|%r"'
_JOBS = '$(for id in $ids; do command echo "${id%%_*}"; done | command sort -u)'

# Slurm checks time limits every 30 seconds, so its signal may come up to 60 seconds early: sbatch(1), --signal
_EARLY = 60
_LONGEST_NOTICE = 65535  # seconds: sbatch(1), --signal
_MARGIN = 10  # seconds for writing the exit record, after the grace

_ID = re.compile("^([1-9][0-9]*)\n", re.MULTILINE)
_ROW = re.compile(r"([1-9][0-9]*(?:_[0-9]+)?)\|([A-Z_]+)\|([^|]*)\|([^|]*)\|(.*?)\|(/.*?)\|//\|(.*)")
_RECORD = re.compile(
    r"([1-9][0-9]*)(?:_([0-9]+|\[[^]|]*\]))?\|([A-Z_]+)(?: by ([0-9]+))?\|([^|]*)\|([^|]*)\|(.*?)\|([0-9:]*)\|(/.*)"
)
_SECTION = re.compile(r"^job ([0-9]+)\n(.*?)^status ([0-9]+)\n", re.MULTILINE | re.DOTALL)
_DENIED = re.compile("^slurm_load_jobs error: Invalid job id specified$", re.MULTILINE)
# refusals that another attempt would meet again
_FINAL = re.compile(
    "Invalid (partition name|account or account/partition|qos|generic resource|feature|preferred feature|license"
    "|cluster feature|node name|wckey|--[a-z-]+) |Invalid numeric value|(unrecognized|invalid) option|is ambiguous;"
    "|Requested (node configuration is not available|reservation is invalid|time limit is invalid)"
    "|Node count specification invalid|Job dependency problem|group not permitted to use this partition"
    "|requires an argument|doesn't allow an argument|option is invalid or not a subset"
)
# reasons to wait that pass only if somebody changes the job or the configuration
_HOPELESS = re.compile(
    "DependencyNeverSatisfied|JobHeld(User|Admin)|[Jj]ob requeued in held state|[Ll]aunch failed requeued held"
    "|BadConstraints|Partition(TimeLimit|NodeLimit|Config)|Invalid(Account|QOS)|(Account|QOS)NotAllowed"
    "|(permitted to|can't) use this partition|(Assoc|QOS)\\w*(PerJob|WallDuration)\\w*|QOSTimeLimit"
)

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_ENDING = {"COMPLETING", "STAGE_OUT"}
_OUTCOMES = {
    **dict.fromkeys(("COMPLETED", "FAILED", "NODE_FAIL", "BOOT_FAIL"), "lost"),
    **dict.fromkeys(("TIMEOUT", "DEADLINE"), "timed_out"),
    **dict.fromkeys(("OUT_OF_MEMORY", "PREEMPTED"), "killed"),
    "CANCELLED": "cancelled",
}
# the state on one cluster of a federation, while another one has the job
_REVOKED = "another cluster of the federation has the job"


@dataclasses.dataclass(frozen=True)
class Slurm(Scheduler):
    """A scheduler whose options are sbatch's long options. An element of an array has the id JOB_INDEX."""

    def launch(self, options: LaunchOptions) -> LaunchSpec:
        """Disables requeuing unless the options ask for it. Raises `ConfigurationError` and `UnsafeValue`."""
        given = given_options(options.options)
        requeue = given.pop("requeue", None) is not None
        notice = math.ceil(options.kill_grace) + _MARGIN
        if options.time_limit and "time" not in given:
            # the supervisor enforces the limit to the second; Slurm's own must not come first
            given["time"] = math.ceil((options.time_limit + notice + _EARLY) / 60)
        else:
            notice = min(notice + math.ceil(options.warning), _LONGEST_NOTICE)
        words = [f"--signal=B:USR1@{notice}", "--requeue" if requeue else "--no-requeue"]
        words += [option_word(name, value) for name, value in given.items()]
        return self.spec(options, words, requeue)

    def submitted_id(self, answer: Answer) -> str | None:
        """The last line that is a number; a plugin of the site may print lines before."""
        found = _ID.findall(answer.stdout)
        return found[-1] if found else None

    def refusal(self, answer: Answer) -> Refusal:
        """A limit is transient, also that on the elements of an array. A job for another cluster is refused."""
        elsewhere = re.search("^[1-9][0-9]*;", answer.stdout, re.MULTILINE)
        return Refusal.FINAL if elsewhere or _FINAL.search(answer.stderr) else Refusal.TRANSIENT

    def element(self, array: str, index: int) -> str:
        """`JOB_INDEX`."""
        return f"{array}_{index}"

    def is_from(self, row: SchedulerRow, submitted: Submitted) -> bool:
        """Not a refused submission: Slurm lists some of them, with an id of their own."""
        index = "" if submitted.index is None else str(submitted.index)
        found = (row.name, row.directory, row.id.partition("_")[2])
        refused = (row.state, row.reason) == ("FAILED", "BadConstraints")
        return found == (submitted.name, submitted.directory, index) and not refused

    def parse_listing(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable`."""
        rows = list(_rows(answer.stdout))
        if answer.status != 0 or (answer.stderr.strip() and not rows):
            raise Unreadable(answer.message)
        return rows

    def parse_query(self, answer: Answer, ids: Sequence[str]) -> dict[str, SchedulerRow | None]:
        """An element is denied with its job, or if others of its job are listed.

        That is because squeue prints nothing, with status 0, about an unknown element. Raises `Unreadable`.
        """
        known: dict[str, SchedulerRow | None] = {}
        sections = {job: (int(status), text) for job, text, status in _SECTION.findall(answer.stdout)}
        for wanted in ids:
            job = wanted.partition("_")[0]
            status, text = sections.get(job, (-1, ""))
            rows = {row.id: row for row in _rows(text)}
            if (status == 0 and rows) or (status > 0 and not rows and _DENIED.search(text)):
                whole = rows.get(job)
                if whole and whole.phase is Phase.OVER:
                    # all elements that were cancelled while they waited may be one row
                    rows.setdefault(wanted, dataclasses.replace(whole, id=wanted))
                known[wanted] = rows.get(wanted)
        if ids and not known:
            raise Unreadable(answer.message)
        return known

    def parse_history(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable`."""
        if answer.status != 0:
            raise Unreadable(answer.message)
        return [row for line in answer.stdout.splitlines() if (m := _RECORD.fullmatch(line)) for row in _recorded(m)]


SLURM = Slurm(
    name="slurm",
    # sbatch itself retries for a while; after that unreachable_timeout limits how long a task waits for the cluster
    start_timeout=30.0,
    options_attribute="sbatch_options",
    limit_options={"memory_limit": "mem of sbatch_options", "cpu_limit": "cpus-per-task of sbatch_options"},
    title="Slurm",
    directive="#SBATCH",
    submit=_SUBMIT + _NOT_ELSEWHERE,
    listing=f"{_SQUEUE} --me",
    # each job on its own, because of several only those that exist are printed
    query=f'for job in {_JOBS}; do command echo "job $job"; answer=$({_SQUEUE} --jobs="$job" 2>&1); status=$?;'
    ' command printf "%s\\nstatus %s\\n" "$answer" "$status";'
    ' case $status$answer in (0* | *"Invalid job id"*) ;; (*) break ;; esac; done',
    # sacct does not find an element that was cancelled while it waited by its id
    history=f'command sacct --noheader --allocations --parsable2 --jobs="$(command echo {_JOBS} | command tr " " ,)"'
    " --format=JobID,State,Start,NodeList,JobName,ExitCode,WorkDir",
    signal="command scancel --batch --signal=TERM $ids",
    # TERM, and KILL after KillWait
    cancel="command scancel $ids",
    dropped_variables=(
        *("SACCT_*", "SCANCEL_*", "SQUEUE_*"),
        *("SBATCH_ARRAY_INX", "SBATCH_CLUSTERS", "SBATCH_DEBUG", "SBATCH_ERROR", "SBATCH_INPUT", "SBATCH_WAIT"),
        *("SLURM_BITSTR_LEN", "SLURM_CLUSTERS", "SLURM_DEBUG", "SLURM_EXIT_*", "SLURM_TIME_FORMAT"),
        # sbatch passes them on to its job
        *("SLURM_ARRAY_*", "SLURM_JOBID", "SLURM_JOB_*", "SLURM_RESTART_COUNT"),
    ),
    job_id="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}",
    index="${SLURM_ARRAY_TASK_ID:-0}",
    restarts="${SLURM_RESTART_COUNT:-0}",
)


def _rows(text: str) -> Iterator[SchedulerRow]:
    """Other lines belong to other jobs of the account, whose names may contain anything."""
    for line in text.splitlines():
        if match := _ROW.fullmatch(line):
            number, state, start, nodes, name, directory, reason = match.groups()
            # of a job that is over it is why it waited, unless it failed
            reason = "" if reason == "None" or state in ("CANCELLED", "COMPLETED") else reason
            yield _row(number, state, start, nodes, name, directory, _REVOKED if state == "REVOKED" else reason)


def _recorded(match: re.Match[str]) -> Iterator[SchedulerRow]:
    """The elements of an array that never ran are one record, such as 66_[0-2,5%1]."""
    job, index, state, user, start, nodes, name, code, directory = match.groups()
    reason = f"by user {user}" if user else f"exit code {code}" if code != "0:0" else ""
    for element in _indices(index) if index else [""]:
        yield _row(job + element, state, start, "" if nodes == "None assigned" else nodes, name, directory, reason)


def _indices(text: str) -> Iterator[str]:
    for part in text.strip("[]").partition("%")[0].split(","):
        if match := re.fullmatch("([0-9]+)(?:-([0-9]+)(?::([0-9]+))?)?", part):
            first, last, step = match.groups()
            yield from (f"_{index}" for index in range(int(first), int(last or first) + 1, int(step or 1)))


def _row(number: str, state: str, start: str, nodes: str, name: str, directory: str, reason: str) -> SchedulerRow:
    """A state that is not known is one of a job that Slurm has."""
    over = Phase.OVER if state in _OUTCOMES else Phase.RUNNING
    phase = Phase.WAITING if state in _WAITING else Phase.ENDING if state in _ENDING else over
    row = SchedulerRow(number, phase, state, reason, nodes, name=name, directory=directory)
    return dataclasses.replace(
        row,
        start="" if start in ("N/A", "None", "Unknown") else start,
        outcome=_OUTCOMES.get(state, "lost"),
        finished=state == "COMPLETED",
        hopeless=phase is Phase.WAITING and bool(_HOPELESS.search(reason)),
    )
