"""The table of `luigi-sshjob ls`, which never cuts the name or the state of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.text import Text

from luigi_sshjob.cli.render import format_age, state_text, strip_escapes
from luigi_sshjob.jobs.listing import JobSummary

_GAP = 2  # columns between two cells
_LEAST = 5  # columns; a narrower cell says nothing


@dataclasses.dataclass(frozen=True)
class JobTable:
    """The lines of the table."""

    header: list[Text]
    rows: list[list[Text]]
    """The lines of each attempt."""

    @property
    def lines(self) -> list[Text]:
        """All lines."""
        return [*self.header, *(line for row in self.rows for line in row)]


@dataclasses.dataclass
class _Column:
    cells: list[Text]
    width: int = 0

    def __init__(self, heading: str, cells: Sequence[Text]):
        self.cells = [Text(heading, "bold"), *cells]
        self.width = self.widest = max(cell.cell_len for cell in self.cells)

    def cell(self, number: int) -> Text:
        cell = self.cells[number].copy()
        cell.truncate(self.width, overflow="ellipsis", pad=True)
        return cell


def job_table(attempts: Sequence[JobSummary], width: int | None) -> JobTable:
    """Make a table of at most `width` columns, None for lines of any length.

    The last column shrinks first, then the progress. If there is not enough space for name, state and age next to each
    other, the name has a line of its own, which alone may be wider: a terminal wraps it, and it can still be copied.
    """
    jobs = [
        *([_Column("HOST", [Text(strip_escapes(each.job.host)) for each in attempts])] if _several(attempts) else []),
        _Column("JOB", [Text(strip_escapes(each.job.id)) for each in attempts]),
    ]
    states = [
        _Column("STATE", [state_text(each) for each in attempts]),
        _Column("AGE", [Text(format_age(each.since)) for each in attempts]),
    ]
    details = [
        _Column("PROGRESS", [Text(_one_line(each.status.progress)) for each in attempts]),
        _Column("REASON OR LAST LINE", [Text(_one_line(_details(each))) for each in attempts]),
    ]
    if width is not None:
        details = [column for column in details if any(column.cells[1:])]
    if width is None or _width([*jobs, *states]) <= width:
        columns = [*jobs, *states, *_fitting(details, width and width - _width([*jobs, *states]))]
        lines = [[_line(columns, number)] for number in range(len(attempts) + 1)]
    else:
        columns = [*states, *_fitting(details, width - _GAP - _width(states))]
        lines = [
            [_line(jobs, number), Text(" " * _GAP).append_text(_line(columns, number))]
            for number in range(len(attempts) + 1)
        ]
    return JobTable(lines[0], lines[1:])


def _several(attempts: Sequence[JobSummary]) -> bool:
    return len({each.job.host for each in attempts}) > 1


def _details(attempt: JobSummary) -> str:
    outcome = attempt.status.outcome
    text = (outcome.reason if outcome else attempt.status.reason) or attempt.last_line
    return f"(retry {attempt.previous.label}) {text}" if attempt.previous else text


def _one_line(text: str) -> str:
    return " ".join(strip_escapes(text).split("\n")).strip()


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _fitting(columns: Sequence[_Column], left: int | None) -> list[_Column]:
    """The columns cut to a width of `left`, the last ones first, without those that would be too narrow."""
    fitting = []
    for column in columns:
        if left is not None:
            left -= _GAP
            column.width = min(column.widest, left)
            if column.width < min(column.widest, _LEAST):
                break
            left -= column.width
        fitting.append(column)
    return fitting


def _line(columns: Sequence[_Column], number: int) -> Text:
    line = Text(" " * _GAP).join(column.cell(number) for column in columns)
    line.rstrip()
    return line
