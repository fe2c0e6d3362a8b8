"""`luigi-sshjob doctor`: check whether a host can run jobs, and suggest fixes."""

from __future__ import annotations

import argparse
import re
import sys
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.render import print_json
from luigi_sshjob.doctor.report import CheckResult, Report, Status
from luigi_sshjob.doctor.runner import run_checks
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.text import printable_line

_MARKS = {Status.OK: "ok", Status.NOTE: "note", Status.FAIL: "FAIL", Status.UNKNOWN: "?"}
_STYLES = {Status.OK: "green", Status.NOTE: "yellow", Status.FAIL: "bold red", Status.UNKNOWN: "dim"}
_SUMMARIES = {
    0: "The host can run jobs.",
    1: "The checks marked FAIL prevent jobs from running.",
    3: "The host could not be checked.",
}


def run(arguments: argparse.Namespace) -> int:
    """Check `arguments.host` and print the report.

    Return 0 if no check failed, 1 if one failed, 3 if the host is not reachable. Raises `ConfigurationError` for an
    invalid host or setting.
    """
    options = {name: getattr(arguments, name) for name in ("key_file", "no_host_key_check", "sshpass", "transport")}
    report = _check(RemoteContext(arguments.host, **options), arguments.base_dir)
    if arguments.json:
        print_json(_report_dict(report))
    else:
        print_report(report, sys.stdout)
    return report.exit_status


def print_report(report: Report, out: IO[str]) -> None:
    """Print a table in colour, folded to the width of a terminal; elsewhere one line per result and one per remedy."""
    console = Console(file=out, highlight=False)
    console.print(Text(f"luigi-sshjob doctor {_one_line(report.host)}\n"), soft_wrap=True)
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for result in report.results:
            text = Text(_one_line(result.text)).append(f"\n{_remedy(result)}" if result.remedy else "", style="italic")
            table.add_row(
                Text(_MARKS[result.status], style=_STYLES[result.status]), Text(result.check, style="bold"), text
            )
        console.print(table)
    else:
        width = max(len(result.check) for result in report.results)
        for result in report.results:
            start = f"{_MARKS[result.status]:<4}  {result.check:<{width}}  "
            console.print(Text(f"{start}{_one_line(result.text)}"), soft_wrap=True)
            if result.remedy:
                console.print(Text(" " * len(start) + _remedy(result)), soft_wrap=True)
    console.print(Text(f"\n{_summary(report)}"), soft_wrap=True)


def _check(context: RemoteContext, base_dir: str | None) -> Report:
    console = Console(stderr=True)
    if not console.is_terminal:
        return run_checks(context, base_dir)
    with console.status("starting") as status:
        return run_checks(context, base_dir, progress=status.update)


def _report_dict(report: Report) -> dict[str, Any]:
    # docs/doctor.rst documents the keys
    return {
        "host": report.host,
        "exit_status": report.exit_status,
        "findings": [
            {
                "check": result.check,
                "verdict": result.status.value,
                "text": _one_line(result.text),
                "remedy": _one_line(result.remedy),
                "measured": dict(result.measured),
            }
            for result in report.results
        ],
        "settings": {
            each.name: {"value": each.value, "why": _one_line(each.reason)} for each in report.recommendations
        },
    }


def _summary(report: Report) -> str:
    text = _SUMMARIES[report.exit_status]
    if not report.reachable:
        return text
    if not report.recommendations:
        return f"{text} No changes to the settings are recommended."
    lines = [text, "", "Recommended in luigi.cfg:", "", f"    [sshjob.{report.host}]"]
    for each in report.recommendations:
        lines += [f"    # {_one_line(each.reason)}", f"    {each.name} = {_one_line(each.value)}"]
    return "\n".join(lines)


def _remedy(result: CheckResult) -> str:
    return f"Next: {_one_line(result.remedy)}"


def _one_line(text: str) -> str:
    # text from the host may contain anything: escape sequences, and characters that the locale lacks
    text = printable_line(re.sub(r"\s", " ", text), sys.maxsize)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
