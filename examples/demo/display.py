"""The jobs as they change: in place on a terminal, else a line for each change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from luigi_run import Jobs

_STYLES = {"running": "cyan", "succeeded": "green", "failed": "red"}
_BAR = 20  # columns


def name(job: dict[str, Any]) -> str:
    """The beginning of its name: the task and its first parameter."""
    return str(job["task"]).rpartition("_")[0].partition("___")[0]


def state(job: dict[str, Any]) -> str:
    """Its outcome, or its state if it has not ended."""
    return str(job["outcome"]["state"] if job["outcome"] else job["state"])


def progress(job: dict[str, Any]) -> tuple[float, str]:
    """Percent and message of its progress."""
    percent, _, message = str(job["progress"]).partition(" ")
    try:
        return float(percent), message
    except ValueError:
        return 0.0, str(job["progress"])


class Display:
    """Shows the jobs of one run of the pipeline."""

    def __init__(self, console: Console, waiting: str):
        self._console = console
        self._waiting = waiting
        self._shown: set[str] = set()
        self._live: Live | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Show jobs while the block runs."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        with Live(Spinner("dots", self._waiting), console=self._console, refresh_per_second=8) as self._live:
            try:
                yield
            finally:
                if not self._shown:
                    self._live.update("")

    def show(self, jobs: Jobs) -> None:
        """Show the jobs as they are now."""
        jobs = sorted(jobs, key=lambda job: (-(job["submitted_ago"] or 0), name(job)))
        if not jobs:
            return
        lines = list(map(plain, jobs))
        if self._live:
            self._live.update(table(jobs))
        else:
            for line in lines:
                if line not in self._shown:
                    self._console.print(line, markup=False, soft_wrap=True)
        self._shown.update(lines)


def table(jobs: Jobs) -> RenderableType:
    """The jobs with bars."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    for job in jobs:
        percent, message = progress(job)
        word = state(job)
        style = _STYLES.get(word, "")
        bar = ProgressBar(100, percent, _BAR, complete_style=style, finished_style=style)
        rows.add_row(Text(f"   {name(job)}", overflow="ellipsis"), Text(word, style), bar, Text(message, "dim"))
    return Group(rows)


def plain(job: dict[str, Any]) -> str:
    """One job as a line."""
    percent, message = progress(job)
    details = f"  {percent:3.0f} %  {message}" if job["progress"] else ""
    return f"   {name(job):20}  {state(job):9}{details}".rstrip()
