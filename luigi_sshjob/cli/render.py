"""How things are written for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from luigi_sshjob.jobs.listing import JobSummary
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome
from luigi_sshjob.text import format_duration, printable_line

_STYLES = {
    "running": "cyan",
    "queued": "yellow",
    "claimed": "yellow",
    "succeeded": "green",
    "cancelled": "magenta",
    "unknown": "yellow",
    "elsewhere": "yellow",
}
_PIPE_WIDTH = 1 << 16  # columns: what is not a terminal is not folded


def screen() -> Console:
    """Standard output: colours and the width of a terminal where it is one, else lines as long as they come. Honours
    NO_COLOR (no-color.org)."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPE_WIDTH, color_system=None, force_terminal=False)


def show(what: RenderableType) -> None:
    """On standard output. For a pipe no line has blanks at its end."""
    console = screen()
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_json(value: Any) -> None:
    """One value, for a program."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def styled(verdict: str, more: str = "") -> Text:
    """A word for a state, with what belongs to it."""
    return Text.assemble((verdict, _STYLES.get(verdict, "red")), plain(more))


def plain(text: str) -> str:
    """What a job wrote, line by line, without what would move a terminal's cursor or colour it."""
    return "\n".join(printable_line(line, sys.maxsize) for line in text.expandtabs().split("\n"))


def age(seconds: float | None) -> str:
    """For people; nothing where it is not known."""
    return "" if seconds is None else format_duration(seconds)


def size(count: int | None) -> str:
    """Bytes, in binary units."""
    if count is None:
        return ""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 10 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def detail(standing: JobStatus) -> str:
    """What there is to say besides the word for the state."""
    outcome = standing.outcome
    if outcome is None:
        return f": {standing.reason}" if standing.reason else ""
    by = f" by signal {outcome.signal}" if outcome.signal else ""
    code = f" with exit code {outcome.exit_code}" if outcome.exit_code and not by else ""
    return by + code + (f": {outcome.reason}" if outcome.reason else "")


def record(listed: JobSummary) -> dict[str, Any]:
    """One attempt as a program reads it; times are seconds, sizes bytes."""
    outcome = listed.status.outcome
    return {
        "host": listed.job.host,
        "job": listed.job.id,
        "task": listed.job.key,
        "attempt": listed.job.attempt,
        "directory": listed.job.directory,
        "state": listed.state.value,
        "reason": listed.status.reason,
        "outcome": dataclasses.asdict(outcome) if outcome else None,
        "progress": listed.status.progress,
        "last_line": listed.last_line,
        "collected_by": listed.collected or None,
        "submitted_ago": listed.submitted_ago,
        "since": listed.since,
        "collected_ago": listed.collected_ago,
    }


def print_outcome(job: JobRef, outcome: Outcome) -> None:
    print(f"{job.id} {plain(str(outcome))}")
