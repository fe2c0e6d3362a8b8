"""`luigi-sshjob show`: print all details of a job."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.find import find_job
from luigi_sshjob.cli.render import (
    format_age,
    format_time,
    print_json,
    print_rich,
    status_details,
    strip_escapes,
    styled,
    summary_dict,
)
from luigi_sshjob.jobs.details import JobDetails
from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import JobRef, State
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.text import format_size, printable_line

_LOG_LINES = 10
_COMMAND_LINES = 20
_PARAMETER_WIDTH = 200  # characters


def run(arguments: argparse.Namespace) -> int:
    """Print all details, and the commands for the next steps."""
    host, job = find_job(arguments)
    details = host.listing.details(job)
    if arguments.json:
        print_json(_details_dict(details))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(details):
        if value:
            table.add_row(name, _literal(value))
    for number, step in enumerate(_next_steps(host, job, details)):
        table.add_row("" if number else "Next", _literal(step))
    print_rich(table)
    return 0


def _literal(value: Text | str) -> Text:
    # rich would interpret brackets in a str as markup
    return value if isinstance(value, Text) else Text(strip_escapes(value))


def _rows(details: JobDetails) -> Iterator[tuple[str, Text | str]]:
    summary = details.summary
    outcome = summary.status.outcome
    yield "Job", summary.job.id
    yield "Host", summary.job.host
    yield "Directory", Text(strip_escapes(summary.job.directory))
    since = format_age(summary.since)
    duration = f" for {since}" if since and not summary.state.final else ""
    yield "Task", details.family
    yield "Parameters", Text("\n".join(_parameters(details)))
    yield "State", styled(summary.status_word, duration + status_details(summary.status))
    previous = summary.previous
    yield "Retry", f"{previous.label}: attempt {previous.attempt} {previous.outcome}" if previous else ""
    by = f" by {details.submitted_by}" if details.submitted_by else ""
    at = f"at {format_time(details.submitted_at)}{by}" if details.submitted_at else by
    ago = f", {format_age(summary.submitted_ago)} ago" if summary.submitted_ago is not None else ""
    yield "Submitted", Text(strip_escapes((at + ago).removeprefix(", ").strip()))
    if outcome and outcome.started and outcome.ended:
        ran = f"from {format_time(outcome.started)} to {format_time(outcome.ended)}"
        yield "Ran", ran + (f", {since} ago" if since else "")
    yield "Collected", Text(f"by {strip_escapes(summary.collected)}" if summary.collected else "no" if outcome else "")
    yield "Progress", Text(strip_escapes(summary.status.progress))
    yield "Command", _lines(details.command, _COMMAND_LINES, first=True)
    yield "Login shell", "yes" if details.setup.login_shell else ""
    yield "Modules", Text(strip_escapes(" ".join(details.setup.modules)))
    yield "Setup", _lines(details.setup.lines, _COMMAND_LINES, first=True)
    yield "Slots", str(details.slots)
    yield "Working dir", Text(strip_escapes(details.working_directory))
    yield "Project", Text(strip_escapes(details.project))
    yield "Inputs", Text("\n".join(map(strip_escapes, details.inputs)))
    yield "Outputs", Text("\n".join(map(strip_escapes, details.outputs)))
    yield "Time limit", format_age(details.time_limit)
    yield from _limits(details.limits)
    yield from _gentle(details.gentle, details.summary.status.outcome)
    yield "Resources", ", ".join(_resources(details))
    yield "Supervisor", _lines(details.diagnostics, _LOG_LINES)
    yield "End of log", _lines(summary.tail, _LOG_LINES)


def _parameters(details: JobDetails) -> Iterator[str]:
    for name, value in details.parameters.items():
        yield printable_line(f"{name} = {value}", _PARAMETER_WIDTH)


def _limits(limits: Limits) -> Iterator[tuple[str, str]]:
    if limits.idle:
        yield "Idle limit", format_age(int(limits.idle))
    if limits.log:
        yield "Log limit", f"{format_size(limits.log)}, then {limits.log_action}"
    if limits.warning_signal:
        yield "Warning", f"{limits.warning_signal}, {format_age(int(limits.warning))} before the end"


def _gentle(gentle: Gentle, outcome: Outcome | None) -> Iterator[tuple[str, str]]:
    if gentle.memory_limit:
        yield "Memory limit", format_size(gentle.memory_limit)
    if gentle.cpu_limit:
        yield "CPU limit", f"{gentle.cpu_limit:g} cores"
    if outcome and outcome.limited_by:
        yield "Limited by", outcome.limited_by
    if gentle.nice:
        yield "Niceness", str(gentle.nice)
    if gentle.ionice:
        yield "I/O priority", gentle.ionice
    if outcome and outcome.not_applied:
        yield "Not applied", " ".join(outcome.not_applied)


def _resources(details: JobDetails) -> Iterator[str]:
    outcome = details.summary.status.outcome
    if outcome and outcome.cpu_seconds is not None:
        yield f"CPU {outcome.cpu_seconds:g} s"
    if outcome and outcome.peak_memory is not None:
        yield f"peak memory {format_size(outcome.peak_memory)}"
    if details.processes:
        yield f"{details.processes} processes"
    yield f"log {format_size(details.log_bytes)}"
    if details.disk_bytes is not None:
        yield f"disk {format_size(details.disk_bytes)}"


def _lines(text: str, count: int, first: bool = False) -> Text:
    lines = strip_escapes(text).rstrip("\n").split("\n")
    if len(lines) <= count:
        return Text("\n".join(lines))
    omitted = Text(f"({len(lines) - count} more lines)", "dim")
    kept = Text("\n".join(lines[:count] if first else lines[-count:]))
    return Text("\n").join([kept, omitted] if first else [omitted, kept])


def _next_steps(host: HostJobs, job: JobRef, details: JobDetails) -> Iterator[str]:
    def command(verb: str) -> str:
        return host.client.command_line(verb, job)

    summary = details.summary
    if summary.state is State.QUEUED and details.slots:
        yield f"see what it waits for: luigi-sshjob slots {shlex.quote(job.host)}"
    if not summary.state.final:
        yield {
            State.CLAIMED: "no supervisor has started yet; the task that waits for the job starts one again",
            State.UNSUPERVISED: "it runs without a supervisor, so its exit code is lost: wait until it ends, or end it",
            State.ELSEWHERE: "use that machine as the host, or wait: its record will be visible from here",
            State.UNKNOWN: "wait until its directory can be used again; a file server may be down",
        }.get(summary.state, f"follow its log: {command('logs -f')}")
        if summary.state in (State.ELSEWHERE, State.UNKNOWN):
            yield f"give it up, if it is certainly not running any more: {command('forget --lost')}"
        else:
            yield f"end it: {command('kill')}"
        return
    yield f"see its log: {command('logs')}"
    if summary.collected:
        yield f"remove it: {command('forget')}, or all old ones: luigi-sshjob gc {shlex.quote(job.host)}"
        return
    yield "run the task: it collects this outcome and does not run the job again"
    yield f"or let the next run start a new attempt: {command('collect')}"


def _details_dict(details: JobDetails) -> dict[str, object]:
    return {
        **summary_dict(details.summary),
        "submitted_by": details.submitted_by,
        "submitted_at": details.submitted_at,
        "family": details.family,
        "parameters": dict(details.parameters),
        "command": details.command,
        "setup": details.setup.lines,
        "modules": list(details.setup.modules),
        "login_shell": details.setup.login_shell,
        "slots": dict(details.slots.needed),
        "working_directory": details.working_directory,
        "project": details.project,
        "inputs": list(details.inputs),
        "outputs": list(details.outputs),
        "time_limit": details.time_limit,
        "idle_limit": details.limits.idle or None,
        "log_limit": details.limits.log or None,
        "log_action": details.limits.log_action if details.limits.log else "",
        "warning_signal": details.limits.warning_signal,
        "warning": details.limits.warning or None,
        **dataclasses.asdict(details.gentle),
        "supervisor_said": details.diagnostics,
        "log_bytes": details.log_bytes,
        "disk_bytes": details.disk_bytes,
        "processes": details.processes,
        "log_end": details.summary.tail,
    }
