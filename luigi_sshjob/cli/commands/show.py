"""`luigi-sshjob show`"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.hosts import find
from luigi_sshjob.cli.render import age, detail, plain, print_json, record, show, size, styled
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.listing import JobDetails
from luigi_sshjob.jobs.model import JobRef, State

_LOG_LINES = 10
_COMMAND_LINES = 20


def run(arguments: argparse.Namespace) -> int:
    """All that is known, and the commands that come next."""
    ((site, job),) = find(arguments, [arguments.job])
    details = site.listing.details(job)
    if arguments.json:
        print_json(_record(details))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(details):
        if value:
            table.add_row(name, _literal(value))
    for number, step in enumerate(_next_steps(site, job, details)):
        table.add_row("" if number else "Next", _literal(step))
    show(table)
    return 0


def _literal(value: Text | str) -> Text:
    # of a str rich takes what is in brackets for its own
    return value if isinstance(value, Text) else Text(plain(value))


def _rows(details: JobDetails) -> Iterator[tuple[str, Text | str]]:
    listed = details.summary
    outcome = listed.status.outcome
    yield "Job", listed.job.id
    yield "Host", listed.job.host
    yield "Directory", Text(plain(listed.job.directory))
    since = age(listed.since)
    going = f" for {since}" if since and not listed.state.final else ""
    yield "State", styled(listed.status_word, going + detail(listed.status))
    by = f" by {details.submitted_by}" if details.submitted_by else ""
    at = f"at {details.submitted_at}{by}" if details.submitted_at else by
    ago = f", {age(listed.submitted_ago)} ago" if listed.submitted_ago is not None else ""
    yield "Submitted", Text(plain(at + ago))
    if outcome and outcome.ended:
        yield "Ran", f"from {outcome.started} to {outcome.ended}" + (f", {since} ago" if since else "")
    yield "Collected", Text(f"by {plain(listed.collected)}" if listed.collected else "by nobody" if outcome else "")
    yield "Progress", Text(plain(listed.status.progress))
    yield "Command", _lines(details.command, _COMMAND_LINES, first=True)
    yield "Works in", Text(plain(details.working_directory))
    yield "Outputs", Text("\n".join(map(plain, details.outputs)))
    yield "Time limit", age(details.time_limit)
    yield "Resources", ", ".join(_resources(details))
    yield "Supervisor", _lines(details.diagnostics, _LOG_LINES)
    yield "Log's end", _lines(listed.tail, _LOG_LINES)


def _resources(details: JobDetails) -> Iterator[str]:
    outcome = details.summary.status.outcome
    if outcome and outcome.cpu_seconds is not None:
        yield f"CPU {outcome.cpu_seconds:g} s"
    if outcome and outcome.peak_memory is not None:
        yield f"peak memory {size(outcome.peak_memory)}"
    if details.processes:
        yield f"{details.processes} processes"
    yield f"log {size(details.log_bytes)}"
    if details.disk_bytes is not None:
        yield f"disk {size(details.disk_bytes)}"


def _lines(text: str, count: int, first: bool = False) -> Text:
    lines = plain(text).rstrip("\n").split("\n")
    if len(lines) <= count:
        return Text("\n".join(lines))
    left_out = Text(f"({len(lines) - count} more lines)", "dim")
    shown = Text("\n".join(lines[:count] if first else lines[-count:]))
    return Text("\n").join([shown, left_out] if first else [left_out, shown])


def _next_steps(site: HostJobs, job: JobRef, details: JobDetails) -> Iterator[str]:
    def how(verb: str) -> str:
        return site.client.command_line(verb, job)

    listed = details.summary
    if not listed.state.final:
        yield {
            State.CLAIMED: "no supervisor has shown up yet; the task that waits for it starts one again",
            State.UNSUPERVISED: "it goes on, but nobody will say how it ended: wait until it is lost, or end it",
            State.ELSEWHERE: "ask the machine it runs on, or wait: its record is seen from here",
            State.UNKNOWN: "its directory cannot be seen now; a file server may be away",
        }.get(listed.state, f"follow its log: {how('logs -f')}")
        yield f"end it: {how('kill')}"
        return
    yield f"see its log: {how('logs')}"
    if listed.collected:
        yield f"remove it: {how('forget')}, or all that are old: luigi-sshjob gc {job.host}"
        return
    yield "run the task: it takes this outcome over and does not run the job again"
    yield f"or have the next run be a new attempt: {how('collect')}"


def _record(details: JobDetails) -> dict[str, object]:
    return {
        **record(details.summary),
        "submitted_by": details.submitted_by,
        "submitted_at": details.submitted_at,
        "command": details.command,
        "working_directory": details.working_directory,
        "outputs": list(details.outputs),
        "time_limit": details.time_limit,
        "supervisor_said": details.diagnostics,
        "log_bytes": details.log_bytes,
        "disk_bytes": details.disk_bytes,
        "processes": details.processes,
        "log_end": details.summary.tail,
    }
