"""The schedulers of the tests: what a test has to know about each, besides its launcher."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from luigi_sshjob.jobs.launchers.registry import SCHEDULERS
from luigi_sshjob.jobs.launchers.scheduler import Scheduler

from support import processes
from support.hosts import Host


@dataclasses.dataclass(frozen=True)
class Engine:
    """One scheduler. The programs are in /usr/bin, and wrapped in /usr/local/bin, where their calls are counted."""

    launcher: str
    submit: str
    """The program that submits."""
    listing: str
    history: str
    cancel: str
    listing_words: str
    """Words in its arguments when it is asked for the listing, in a call that is made once for each listing."""
    is_query: str
    """A pattern of the shell for the arguments of `listing` when it is asked for ids."""
    hold: Mapping[str, Any]
    """Options of a job that waits until it is released."""
    release: Callable[[Host, str], object]
    stop: Callable[[Host], object]
    """Stops the scheduler, but not its jobs."""
    start: Callable[[Host], object]
    count_jobs: str
    """A script that sets `count` to the number of jobs in a submission, and may replace its standard input."""
    refusal: str
    """What `submit` prints for a reason that may pass, on standard error."""
    final: Mapping[str, Any]
    """Options that it refuses for good."""

    @property
    def scheduler(self) -> Scheduler:
        return SCHEDULERS[self.launcher]


_COUNT_WORDS = "count=0; for word; do case $word in /*/jobs/*) count=$((count + 1)) ;; esac; done"
_COUNT_LINES = (
    "file=$(mktemp); cat >$file; count=$(sed -n '/^queue/,/^)/p' $file | grep -c /jobs/); exec <$file; rm $file"
)


@contextlib.contextmanager
def faulty(host: Host, program: str, script: str) -> Iterator[None]:
    """While the block runs, the script replaces the program; `$real` is the path of the program."""
    place = f"/usr/local/bin/{program}"
    host.run("sh", "-c", f"mv {place} {place}.good; rm -f /var/tmp/hit", user="root")
    text = f"#!/bin/sh\nreal=/usr/bin/{program}\n{script}"
    host.run("sh", "-c", f"cat >{place}.new; chmod 755 {place}.new; mv {place}.new {place}", user="root", input=text)
    try:
        yield
    finally:
        # the next test has the same scheduler
        host.run("sh", "-c", f"mv -f {place}.good {place}; rm -f /var/tmp/hit", user="root")


# Kills the processes that wait for the answer, up to the shell that serves the requests.
KILL_SHELL = r"""
parent=$PPID
while tr '\0' ' ' </proc/$parent/cmdline | grep -qx '/bin/sh -s '; do
  next=$(awk '{print $4}' /proc/$parent/stat)
  kill -9 $parent
  parent=$next
done
touch /var/tmp/hit
"""
KILL_AFTER = f'"$real" "$@" >/dev/null\n{KILL_SHELL}'
KILL_BEFORE = KILL_SHELL


def _slurm(*words: str) -> Callable[..., object]:
    def call(host: Any, *ids: str) -> object:
        return host.slurm(*words, *ids)

    return call


def _stop_slurm(host: Any) -> None:
    host.run("pkill", "-x", "slurmctld", user="root")
    processes.wait_until(lambda: "slurmctld" not in host.run("ps", "-A", "-o", "comm", user="root"), "its end")


def _start_slurm(host: Any) -> None:
    host.run("slurmctld", user="root")
    host.wait_for_nodes()


def _sge(*words: str) -> Callable[..., object]:
    def call(host: Any, *ids: str) -> object:
        return host.sge(*words, *ids)

    return call


def _stop_sge(host: Any) -> None:
    host.run("pkill", "-x", "sge_qmaster", user="root")
    processes.wait_until(lambda: "sge_qmaster" not in host.run("ps", "-A", "-o", "comm", user="root"), "its end", 60)


def _start_sge(host: Any) -> None:
    host.run("sge_qmaster", user="root")
    host.wait_for_nodes()


def _condor(*words: str) -> Callable[..., object]:
    def call(host: Any, *ids: str) -> object:
        return host.condor(*words, *(each.rpartition("#")[2] for each in ids))

    return call


ENGINES = {
    "htcondor": Engine(
        "htcondor",
        submit="condor_submit",
        listing="condor_q",
        listing_words="-json",
        history="condor_history",
        cancel="condor_rm",
        is_query='*" -constraint "*) exec "$real" "$@" ;; *[0-9].[0-9]*',
        hold={"hold": True},
        release=_condor("condor_release"),
        stop=_condor("condor_off", "-schedd", "-fast"),
        start=_condor("condor_on", "-schedd"),
        count_jobs=_COUNT_LINES,
        refusal="ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER",
        final={"requirements": "(("},
    ),
    "sge": Engine(
        "sge",
        submit="qsub",
        listing="qstat",
        listing_words="-xml",
        history="qacct",
        cancel="qdel",
        is_query='*"-j "*',
        hold={"h": True},
        release=_sge("qrls"),
        stop=_stop_sge,
        start=_start_sge,
        count_jobs=_COUNT_WORDS,
        refusal="Unable to run job: job rejected: no slot left in the spool directory",
        final={"q": "no-such"},
    ),
    "slurm": Engine(
        "slurm",
        submit="sbatch",
        listing="squeue",
        listing_words="--states=all",
        history="sacct",
        cancel="scancel",
        is_query="*--jobs=*",
        hold={"hold": True},
        release=_slurm("scontrol", "release"),
        stop=_stop_slurm,
        start=_start_slurm,
        count_jobs=_COUNT_WORDS,
        refusal="sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        final={"partition": "no-such"},
    ),
}
