"""Formats output for people and for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from luigi_sshjob.cli.states import spoken, state_label
from luigi_sshjob.errors import ConnectionFailed, SSHJobError
from luigi_sshjob.jobs.listing import JobSummary
from luigi_sshjob.jobs.model import JobStatus
from luigi_sshjob.text import format_duration, json_text, printable_line

_STYLES = {
    "running": "cyan",
    "queued": "yellow",
    "claimed": "yellow",
    "succeeded": "green",
    "cancelled": "magenta",
    "unknown": "yellow",
    "elsewhere": "yellow",
}
_PIPE_WIDTH = 1 << 16  # columns, so that lines are only folded on a terminal


def stdout_console() -> Console:
    """Return a console for standard output: with colours on a terminal, else with lines of any length.

    Respects NO_COLOR (no-color.org).
    """
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PIPE_WIDTH, color_system=None, force_terminal=False)


def print_rich(renderable: RenderableType) -> None:
    """Print on standard output; without trailing blanks if it is not a terminal."""
    console = stdout_console()
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they are; a terminal wraps those that are too long."""
    for line in lines:
        if console.is_terminal:
            console.print(line, soft_wrap=True)
        else:
            # rich exits with status 1 if the reader has closed the pipe
            print(line.plain)


def distinct(errors: Iterable[SSHJobError]) -> list[SSHJobError]:
    """Errors without repetitions: of those that say that a host cannot be reached, the first one of each host.

    Errors of different jobs are different, because each says what did not happen to its job.
    """
    found: dict[str | None, SSHJobError] = {}
    for error in errors:
        of_host = isinstance(error, ConnectionFailed) and not error.job
        found.setdefault(error.host if of_host else str(error), error)
    return list(found.values())


def print_errors(errors: Iterable[SSHJobError]) -> None:
    """Print distinct errors on standard error."""
    for error in distinct(errors):
        print(f"luigi-sshjob: {error}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(json_text(json.dumps(value, indent=2, ensure_ascii=False)))


def styled(status_word: str, details: str = "") -> Text:
    """Return a status word in its colour, followed by details."""
    return Text.assemble((strip_escapes(spoken(status_word)), _STYLES.get(status_word, "red")), strip_escapes(details))


def state_text(attempt: JobSummary) -> Text:
    """Return state and code in the colour of the state."""
    return Text(strip_escapes(state_label(attempt)), _STYLES.get(attempt.status_word, "red"))


def strip_escapes(text: str) -> str:
    """Remove what would move the cursor of a terminal or change its colours, in each line."""
    return "\n".join(printable_line(line, sys.maxsize) for line in text.expandtabs().split("\n"))


def format_age(seconds: float | None) -> str:
    """Format an age; empty if it is unknown."""
    return "" if seconds is None else format_duration(seconds)


def format_time(text: str) -> str:
    """Format a time in ISO 8601 as local time with its zone; another text stays as it is."""
    try:
        # Python 3.10 does not know Z
        time = datetime.datetime.fromisoformat(text.removesuffix("Z") + "+00:00" * text.endswith("Z"))
        return time.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if time.tzinfo else text
    except (ValueError, OverflowError, OSError):
        # the host may have written anything, also a year that this machine cannot convert
        return text


def status_details(status: JobStatus) -> str:
    """Return the details that follow the status word: signal, exit code and reason."""
    outcome = status.outcome
    if outcome is None:
        return f": {status.reason}" if status.reason else ""
    # its signal and exit code only show how it was ended
    if outcome.state == "timed_out":
        return f": {outcome.reason}" if outcome.reason else ""
    by = f" by signal {outcome.signal}" if outcome.signal else ""
    code = f" with exit code {outcome.exit_code}" if outcome.exit_code and not by else ""
    return by + code + (f": {outcome.reason}" if outcome.reason else "")


def summary_dict(summary: JobSummary) -> dict[str, Any]:
    """Return one attempt for JSON output; times are in seconds, sizes in bytes."""
    outcome = summary.status.outcome
    return {
        "host": summary.job.host,
        "job": summary.job.id,
        "task": summary.job.key,
        "attempt": summary.job.attempt,
        "retry": summary.previous.label if summary.previous else None,
        "directory": summary.job.directory,
        "state": summary.state.value,
        "reason": summary.status.reason,
        "outcome": dataclasses.asdict(outcome) if outcome else None,
        "progress": summary.status.progress,
        "last_line": summary.last_line,
        "collected_by": summary.collected or None,
        "submitted_ago": summary.submitted_ago,
        "since": summary.since,
        "collected_ago": summary.collected_ago,
    }
