"""Results of the benchmark, and the tables of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

ROWS = (
    "jobs of 9 s at once",
    "accepted logins",
    "drops and refused sessions",
    "failed or doubled jobs",
    "sessions open at one time",
    "remote processes a job, its own aside",
    "end to known, median",
    "end to known, 95th percentile",
    "overhead over a bare ssh",
)


@dataclass
class Figures:
    """Results of one run of concurrent jobs."""

    jobs: int
    logins: int
    drops: int
    failed: int
    sessions: int
    processes: float
    known: list[float]
    overhead: float
    submissions: float
    """Jobs per second, between the first claim and the last."""

    def rows(self) -> list[str]:
        """Return the column of the table."""
        known = [statistics.median(self.known), percentile(self.known, 0.95)] if self.known else []
        counts = [self.jobs, self.logins, self.drops, self.failed, self.sessions]
        times = [f"{seconds:.2f} s" for seconds in known] or ["", ""]
        return [*map(str, counts), f"{self.processes:.1f}", *times, f"{self.overhead:.1f} s"]


@dataclass
class Waiting:
    """Results of a minute of waiting for silent jobs."""

    started: int
    """Processes started on the host."""
    processes: int
    """Local processes."""
    memory: list[int]
    """Private memory of each Python process in KiB, the worker first."""
    cpu: float
    """CPU time of all local processes in seconds."""
    host_cpu: float
    """CPU time of the host in seconds."""


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def print_table(runs: list[Figures]) -> None:
    columns = [run.rows() for run in runs]
    for number, name in enumerate(ROWS):
        print(f"{name:40}" + "".join(f"{column[number]:>12}" for column in columns), flush=True)


def print_rows(rows: dict[str, list[str]]) -> None:
    """Print a table with wide columns."""
    for name, cells in rows.items():
        print(f"{name:44}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
