"""Grid Engine: `qsub` runs the supervisor on an execution node of the cluster whose submit node is the host.

Options, formats and messages are those of qsub(1), qstat(1), qacct(1) and sge_status(5) of Grid Engine 8.1.9, and as
recorded in `tests/jobs/launchers/recorded/sge`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree

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
from luigi_sshjob.jobs.launchers.sge_options import option_words

# -S because a queue's default shell may be csh; -C '' because the lines `#$` of a script are options. A path of -wd is
# expanded, so that no directory can have a dollar sign in its name.
_SUBMIT = (
    'command qsub -terse -S /bin/sh -b n -C "" -j n -o /dev/null -e /dev/null -N "j.$key.$attempt$suffix.$tag"'
    ' -wd "$(case $base in (*\\$*) echo / ;; (*) printf %s "$base" ;; esac)" ${last:+-t "1-$count"}'
    ' {options} "$@"'
)
_MARGIN = 60  # seconds for the start of the supervisor and its exit record; Grid Engine itself is a few seconds late

_SUBMITTED = re.compile(r"([1-9][0-9]*)(\.[0-9]+-[0-9]+:[0-9]+)?")
# refusals that another attempt would meet again
_FINAL = re.compile(
    "unknown (queue|resource|option)|the requested .* does not exist|advance reservation id .* is invalid"
    r"|is not a \w+ value|missing value for|no suitable queues|requires operator privileges|is not a deadline"
    "|not a valid object name|not allowed in objectname|invalid (option argument|priority|jobshare|task concurrency)"
    "|numerical value invalid|pe range must be|slots explicitly|specification of master queue|contains errors"
    "|wrong .* format|is not allowed to submit|no project assigned",
    re.IGNORECASE,
)
# some versions add "or permissions are not sufficient"
_DENIED = re.compile(r"^Following jobs do not exist[^:\n]*: *\n *([0-9]+) *\n", re.MULTILINE)
_DETAIL = re.compile(r"^(job_number|error reason|scheduling info)(?: +([0-9]+))?: +(.*)$", re.MULTILINE)
_RECORD = re.compile(r"^={20,}\n", re.MULTILINE)
_TASKS = re.compile(r" *([0-9]+)(?:-([0-9]+):([0-9]+))? *")
_RUN_AGAIN = ("24", "25", "30")  # of a job that goes on: migrated, rescheduled, held since it exited with status 100
_OVER_LIMIT = "37"
_REASONS = {"d": "it is being deleted", "h": "it is on hold", "sST": "it is suspended"}


@dataclasses.dataclass(frozen=True)
class GridEngine(Scheduler):
    """A scheduler whose options are those of qsub, without the dash. An element of an array has the id JOB.TASK."""

    def launch(self, options: LaunchOptions) -> LaunchSpec:
        """Forbids a second run unless the option `r` asks for it. Raises `ConfigurationError` and `UnsafeValue`."""
        given = option_words(options.options)
        rerun = [words[1] for words in given if words[0] == "-r"]
        # qsub prints a warning on stdout about an option that is given twice
        words = [] if rerun else ["-r", "n"]
        if options.options.get("notify") is None:
            words.append("-notify")
        if options.time_limit and not any(w[0] == "-l" and re.search(r"(^|,)[hs]_rt=", w[1]) for w in given):
            # the supervisor enforces the limit to the second
            words += ["-l", f"h_rt={math.ceil(options.time_limit + options.kill_grace) + _MARGIN}"]
        # in front of the user's, which may begin with -soft
        words += [word for option in given for word in option]
        return self.spec(options, words, requeue=rerun in (["y"], ["yes"]))

    def submitted_id(self, answer: Answer) -> str | None:
        """Read from what `qsub -terse` prints: `JOB`, or `JOB.FIRST-LAST:STEP` of an array."""
        found = [match[1] for line in answer.stdout.splitlines() if (match := _SUBMITTED.fullmatch(line.strip()))]
        return found[-1] if found else None

    def refusal(self, answer: Answer) -> Refusal:
        """A limit on jobs or tasks is transient, also that on the tasks of an array."""
        final = answer.status is not None and _FINAL.search(f"{answer.stderr}\n{answer.stdout}")
        return Refusal.FINAL if final else Refusal.TRANSIENT

    def element(self, array: str, index: int) -> str:
        """`JOB.TASK`; tasks are counted from 1."""
        return f"{array}.{index + 1}"

    def is_from(self, row: SchedulerRow, submitted: Submitted) -> bool:
        """By the name, which contains the tag: qstat does not list directories."""
        task = "" if submitted.index is None else str(submitted.index + 1)
        name = f"j.{submitted.name.replace('/', '.')}.{submitted.tag}"
        return (row.name, row.id.partition(".")[2]) == (name, task)

    def parse_listing(self, answer: Answer) -> list[SchedulerRow]:
        """Raises `Unreadable` unless it is a whole document."""
        if answer.status != 0:
            raise Unreadable(answer.message)
        return [_explained(row, {}) for row in _rows(answer.stdout)]

    def parse_query(self, answer: Answer, ids: Sequence[str]) -> dict[str, SchedulerRow | None]:
        """An element is denied with its job, or if the job is known and others of its elements are listed.

        That is because `qstat -j` knows jobs only. Raises `Unreadable`.
        """
        text, _, listing = answer.stdout.partition("<?xml")
        if answer.status is not None:
            text += "\n"  # it is whole
        denied, details = set(_DENIED.findall(text)), _details(text)
        if not (denied or (listing and answer.status == 0)):
            raise Unreadable(answer.message)
        rows = {row.id: row for row in _rows(f"<?xml{listing}")} if listing and answer.status == 0 else {}
        arrays = {row.id.partition(".")[0] for row in rows.values() if "." in row.id}
        known: dict[str, SchedulerRow | None] = {}
        for wanted in ids:
            job, _, task = wanted.partition(".")
            if job in denied or (task and wanted not in rows and job in arrays and job in details):
                known[wanted] = None
            elif wanted in rows:
                known[wanted] = _explained(rows[wanted], details.get(job, {}))
        return known

    def parse_history(self, answer: Answer) -> list[SchedulerRow]:
        """The last end of each job. With `-r y` it may run again, and numbers are used again: names must be compared.

        Raises `Unreadable`.
        """
        pairs = [[line.split(None, 1) for line in text.splitlines()] for text in _RECORD.split(answer.stdout)[1:]]
        records = [{pair[0]: pair[1].strip() for pair in record if len(pair) == 2} for record in pairs]
        if answer.status is None or not (records or "not found" in answer.stderr + answer.stdout):
            raise Unreadable(answer.message)
        whole = [record for record in records if {"jobname", "jobnumber", "failed", "exit_status"} <= record.keys()]
        ends = [_ended(record) for record in whole if record["failed"].split()[0] not in _RUN_AGAIN]
        return list({row.id: row for row in ends}.values())


SGE = GridEngine(
    name="sge",
    options_attribute="sge_options",
    limit_options={"memory_limit": "h_vmem (l of sge_options)", "cpu_limit": "pe of sge_options"},
    start_timeout=30.0,
    title="Grid Engine",
    directive=r"#\$",
    submit=_SUBMIT,
    listing="command qstat -u '$user' -s prs -g d -xml",
    # each job on its own, because of several only those that exist are printed. Options of ~/.sge_qstat apply to the
    # list and cannot be cleared, so that one of these would hide jobs.
    query='for job in $(for id in $ids; do command echo "${id%%.*}"; done | command sort -u); do'
    ' command qstat -j "$job" 2>&1; done;'
    " if command grep -Eqs '^(.*[[:blank:]])?-(q|l|pe|U)[[:blank:]]' ~/.sge_qstat; then"
    ' command echo "options in ~/.sge_qstat hide jobs" >&2; false; else'
    " command qstat -u '$user' -s prs -g d -xml; fi",
    history='for id in $ids; do case $id in *.*) command qacct -j "${id%.*}" -t "${id#*.}" ;;'
    ' *) command qacct -j "$id" ;; esac; done',
    # Every signal goes to all processes of a job. qdel sends USR2, because of -notify, and KILL after the time `notify`
    # of the queue.
    signal="",
    cancel="command qdel $ids",
    signals_all=True,
    dropped_variables=(
        "SGE_TASK_*",
        "JOB_ID",
        "RESTARTED",
        "SGE_DEBUG_*",
        "SGE_ENABLE_MSG_ID",
        "SGE_DELAY_AFTER_SUBMIT",
    ),
    job_id='$JOB_ID$(case ${SGE_TASK_ID-} in ("" | *[!0-9]*) ;; (*) echo ".$SGE_TASK_ID" ;; esac)',
    index='$(case ${SGE_TASK_ID-} in ("" | *[!0-9]*) echo 0 ;; (*) echo $((SGE_TASK_ID - 1)) ;; esac)',
    # 1 for each run but the first
    restarts="${RESTARTED:-0}",
)


def _rows(text: str) -> Iterator[SchedulerRow]:
    if "<!" in text:
        raise Unreadable("qstat printed another document: it has a declaration")
    try:
        # names of other jobs may be anything; noqa: an entity would need a declaration
        root = ElementTree.fromstring(text.encode("utf-8", "replace"))  # noqa: S314
    except ElementTree.ParseError as error:
        raise Unreadable(f"qstat printed no whole XML document: {error}") from None
    if [root.tag, *(part.tag for part in root)] != ["job_info", "queue_info", "job_info"]:
        raise Unreadable(f"qstat printed no list of jobs: {root.tag}")
    for job in root.iter("job_list"):
        number, state, tasks = (job.findtext(tag, "") for tag in ("JB_job_number", "state", "tasks"))
        if not number.isdecimal() or not state:
            raise Unreadable("qstat listed a job without a number or a state")
        waits = Phase.WAITING if re.search("[qw]", state) else Phase.RUNNING
        phase, node = Phase.ENDING if "d" in state else waits, job.findtext("queue_name", "").partition("@")[2]
        for task in _tasks(tasks) if tasks else [""]:
            row = SchedulerRow(f"{number}{task}", phase, state, nodes=node, name=job.findtext("JB_name", ""))
            yield dataclasses.replace(row, hopeless="E" in state)


def _tasks(text: str) -> Iterator[str]:
    """The ends of the ids of tasks such as `1-5:2,8`."""
    for part in text.split(","):
        match = _TASKS.fullmatch(part)
        if match is None:
            raise Unreadable(f"qstat listed unknown tasks: {text}")
        first, last, step = match.groups()
        yield from (f".{task}" for task in range(int(first), int(last or first) + 1, int(step or 1)))


def _details(text: str) -> dict[str, dict[str, str]]:
    """What `qstat -j` says about each job: why it waits, for the key "", and the error of each task."""
    found: dict[str, dict[str, str]] = {}
    job = ""
    for name, task, value in _DETAIL.findall(text):
        if name == "job_number":
            job = value
            found[job] = {}
        elif job and value != "There are no messages available":
            found[job][task] = value
    return found


def _explained(row: SchedulerRow, detail: Mapping[str, str]) -> SchedulerRow:
    word = next((text for letters, text in _REASONS.items() if set(letters) & set(row.state)), "")
    if row.hopeless:
        # empty in a listing, so that it is asked for
        word = detail.get(row.id.partition(".")[2] or "1", "")
    elif row.phase is Phase.WAITING:
        word = detail.get("", word)
    return dataclasses.replace(row, reason=word)


def _ended(record: Mapping[str, str]) -> SchedulerRow:
    code, status = record["failed"].split()[0], record["exit_status"].split()[0]
    task = record.get("taskid", "undefined")
    outcome = "killed" if code == "100" else "lost"
    if code == _OVER_LIMIT:
        # of run time, CPU time or memory
        limit = re.search(r"[ ,]h_rt=([0-9]+)", record.get("category", ""))
        elapsed = re.match("[0-9]+", record.get("ru_wallclock", ""))
        outcome = "timed_out" if limit and elapsed and int(elapsed[0]) >= int(limit[1]) else "killed"
    return SchedulerRow(
        record["jobnumber"] + ("" if task == "undefined" else f".{task}"),
        Phase.OVER,
        f"failed {code}" if code != "0" else f"exit {status}",
        reason=f"{record['failed']}; exit status {record['exit_status']}",
        nodes=record.get("hostname", ""),
        name=record["jobname"],
        outcome=outcome,
        finished=code == "0" or (code == _OVER_LIMIT and int(status) <= 128),
    )
