"""How an attempt ended, as data. No I/O."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timezone

from luigi_sshjob.text import one_line


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended: succeeded, failed, killed (by a signal), timed_out, cancelled or lost.

    `exit_code` is that of a shell, 128 + number for a signal, and None for a lost job. `signal` is the name of the
    signal that ended the command, empty for its own `exit 137`. `log_bytes` is the size of the whole log. Times are UTC
    by the host's clock. `cpu_seconds` is user and system time. `peak_memory` is that of the largest process in bytes;
    without a time(1) that reports it, or if that was killed, too, it is that of the whole job with its page cache, if
    the job had a control group; else None. `scheduler` is the scheduler's reason if it ended the job, such as Slurm's
    NODE_FAIL or PREEMPTED, and REFUSED if it rejected the job. `queue_seconds` is the time from the submission to a
    scheduler until the job first started, or that of the wait for slots; None for other jobs. `out_of_memory` is
    "machine" if the kernel has killed processes for lack of memory on its machine meanwhile, "job" if it has killed one
    because the job had reached its `memory_limit`; only a control group can tell. `proved_dead` is whether nothing of a
    lost job is left for certain, and nobody has cancelled it or given it up. `limited_by` is how the host has kept
    `memory_limit` and `cpu_limit`: "systemd scope", "cgroup", "ulimit -v" or two of them; `not_applied` are the
    attributes that it could not apply.
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
    queue_seconds: int | None = None
    out_of_memory: str = ""
    proved_dead: bool = False
    limited_by: str = ""
    not_applied: tuple[str, ...] = ()

    @property
    def run_seconds(self) -> int | None:
        """Whole seconds from `started` to `ended`; None if one is unknown, or if the clock was set back meanwhile."""
        started, ended = _moment(self.started), _moment(self.ended)
        if started is None or ended is None or ended < started:
            return None
        return round((ended - started).total_seconds())

    @property
    def succeeded(self) -> bool:
        """Whether the command ended with a success exit code and its outputs were published."""
        return self.state == "succeeded"

    @classmethod
    def lost(cls, reason: str, *, proved_dead: bool = False) -> Outcome:
        """The outcome of an attempt without an exit record."""
        return cls("lost", reason=reason, proved_dead=proved_dead)

    @classmethod
    def parse(cls, record: str) -> Outcome | None:
        """Parse the text of an exit record; None if it is not one. Invalid numbers are ignored."""
        fields: dict[str, str] = {}
        for line in record.split("\n"):
            name, _, value = line.partition(": ")
            # only the first: a line break in a value must not add a field
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
            peak_memory=_size(fields.get("peak_memory", "")) or _size(fields.get("cgroup_peak", "")),
            scheduler=fields.get("scheduler", ""),
            queue_seconds=_integer(fields.get("queue_time", "").removesuffix(" s")),
            out_of_memory=fields.get("out_of_memory", ""),
            proved_dead=fields.get("proved_dead") == "yes",
            limited_by=fields.get("limited_by", ""),
            not_applied=tuple(fields.get("not_applied", "").split()),
        )

    def __str__(self) -> str:
        how = {
            "succeeded": f"succeeded with exit code {self.exit_code}",
            "failed": "failed" if self.exit_code is None else f"failed with exit code {self.exit_code}",
            "killed": f"was killed by signal {self.signal} (exit code {self.exit_code})",
            "timed_out": "was ended by a limit",
            "cancelled": "was cancelled",
            "lost": "was lost",
        }.get(self.state, self.state)
        return one_line(f"{how}: {self.reason}" if self.reason else how)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _size(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    amount, factor = _integer(number), {"KiB": 1024, "B": 1}.get(unit)
    return None if amount is None or factor is None else amount * factor


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _cpu_seconds(times: str) -> float | None:
    # the format of `times` in a shell: 0m1.25s 0m0.02s
    found = re.findall(r"(\d+)m(\d+(?:\.\d+)?)s", times)
    return round(sum(int(minutes) * 60 + float(seconds) for minutes, seconds in found), 2) if found else None
