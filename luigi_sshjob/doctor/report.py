"""What an examination comes to: pure data."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import sys
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from luigi_sshjob.text import printable_line


class Status(enum.Enum):
    """Of one check."""

    OK = "ok"
    NOTE = "note"
    """It works; there is something to know, or to do better."""
    FAIL = "fail"
    UNKNOWN = "unknown"
    """The check could not be made, so nothing is said."""


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """One line of the report. `measured` holds the figures in it: times in seconds, sizes in bytes."""

    check: str
    verdict: Status
    text: str
    remedy: str = ""
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Advice:
    """A setting of `[sshjob]` that would suit the host better than the one in force, and why."""

    name: str
    value: str
    why: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All of it. `answered`: whether the host let us in and told what it was asked."""

    host: str
    findings: tuple[CheckResult, ...]
    settings: tuple[Advice, ...] = ()
    answered: bool = True

    @property
    def exit_status(self) -> int:
        """0: all is well, 1: something does not work, 3: no answer."""
        if not self.answered:
            return 3
        return int(any(finding.verdict is Status.FAIL for finding in self.findings))


def seconds(value: float) -> str:
    """For people."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def size(value: int) -> str:
    """Bytes, for people."""
    number = float(value)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit in ("bytes", "KiB") else f"{number:.1f} {unit}"


_MARKS = {Status.OK: "ok", Status.NOTE: "note", Status.FAIL: "FAIL", Status.UNKNOWN: "?"}
_STYLES = {Status.OK: "green", Status.NOTE: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "dim"}
_ENDS = {
    0: "Nothing stands in the way of jobs.",
    1: "What is marked FAIL stands in the way of jobs.",
    3: "The host could not be examined.",
}
_SPACE = re.compile(r"\s")


def show(report: Report, out: IO[str]) -> None:
    """In colour and folded to the width of a terminal; else one finding a line, its remedy indented below it."""
    console = Console(file=out, highlight=False)
    console.print(Text(f"luigi-sshjob doctor {_plain(report.host)}\n"), soft_wrap=True)
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for finding in report.findings:
            style = _STYLES[finding.verdict]
            text = Text(_plain(finding.text)).append(f"\n{_remedy(finding)}" if finding.remedy else "", style="italic")
            table.add_row(Text(_MARKS[finding.verdict], style=style), Text(finding.check, style="bold"), text)
        console.print(table)
    else:
        for finding in report.findings:
            start = f"{_MARKS[finding.verdict]:<4}  {finding.check:<{_width(report)}}  "
            console.print(Text(f"{start}{_plain(finding.text)}"), soft_wrap=True)
            if finding.remedy:
                console.print(Text(" " * len(start) + _remedy(finding)), soft_wrap=True)
    console.print(Text(f"\n{_closing(report)}"), soft_wrap=True)


def as_json(report: Report) -> str:
    """One object; what it holds is in docs/doctor.rst."""
    found = {
        "host": report.host,
        "exit_status": report.exit_status,
        "findings": [
            {
                "check": finding.check,
                "verdict": finding.verdict.value,
                "text": _plain(finding.text),
                "remedy": _plain(finding.remedy),
                "measured": dict(finding.measured),
            }
            for finding in report.findings
        ],
        "settings": {advice.name: {"value": advice.value, "why": _plain(advice.why)} for advice in report.settings},
    }
    return json.dumps(found, indent=2)


def _closing(report: Report) -> str:
    text = _ENDS[report.exit_status]
    if not report.answered:
        return text
    if not report.settings:
        return f"{text} The settings fit the host: nothing to change."
    lines = [text, "", "Recommended in luigi.cfg:", "", f"    [sshjob.{report.host}]"]
    for advice in report.settings:
        lines += [f"    # {_plain(advice.why)}", f"    {advice.name} = {_plain(advice.value)}"]
    return "\n".join(lines)


def _remedy(finding: CheckResult) -> str:
    return f"Next: {_plain(finding.remedy)}"


def _width(report: Report) -> int:
    return max(len(finding.check) for finding in report.findings)


def _plain(text: str) -> str:
    """What a host says may hold anything: what would command a terminal, what the locale has no letters for."""
    text = printable_line(_SPACE.sub(" ", text), sys.maxsize)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
