"""Everything that a host stores about one attempt. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.numbers import number
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.jobs.spec import parse_parameters
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.remote_shell import ResponsePart

if TYPE_CHECKING:
    from luigi_sshjob.jobs.listing import JobSummary


@dataclasses.dataclass(frozen=True)
class JobDetails:
    """Everything that a host stores about one attempt except its environment."""

    summary: JobSummary
    command: str = ""
    diagnostics: str = ""
    """What the supervisor wrote on stderr."""
    setup: Setup = Setup()  # noqa: RUF009 - immutable
    slots: Slots = Slots()  # noqa: RUF009 - immutable
    working_directory: str = ""
    project: str = ""
    time_limit: int | None = None
    limits: Limits = Limits()  # noqa: RUF009 - immutable
    gentle: Gentle = Gentle()  # noqa: RUF009 - immutable
    submitted_by: str = ""
    submitted_at: str = ""
    family: str = ""
    """Of the Luigi task; empty if the version that submitted the job did not write it."""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    log_bytes: int = 0
    disk_bytes: int | None = None
    processes: int = 0


def details_of(parts: Sequence[ResponsePart], summary: JobSummary) -> JobDetails:
    """The details in the response to `job_show`."""
    found = {part.kind: quoting.decode(part.content).removesuffix("\n") for part in parts}
    values = {part.kind: part.value for part in parts}
    layout = scripts.layout()
    disk = number(values.get("kibibytes"))

    def paths(kind: str) -> tuple[str, ...]:
        return tuple(quoting.decode(part.content)[:-1] for part in parts if part.kind == kind)

    return JobDetails(
        summary=summary,
        command=found.get(layout["SJ_COMMAND"], ""),
        diagnostics=found.get(layout["SJ_DIAGNOSTICS"], ""),
        setup=Setup.parse(found.get(layout["SJ_SETUP"], ""), found),
        slots=Slots.parse(found.get("slots", "")),
        working_directory=found.get("working_directory", ""),
        project=found.get("project", ""),
        time_limit=number(found.get("time_limit")),
        limits=Limits.parse(found),
        gentle=Gentle.parse(found),
        submitted_by=found.get("submitted_by", ""),
        submitted_at=found.get("submitted_at", ""),
        family=found.get("task_family", ""),
        parameters=parse_parameters(found.get("task_parameters", "")),
        inputs=paths("input"),
        outputs=paths("output"),
        log_bytes=number(values.get("log_bytes")) or 0,
        disk_bytes=None if disk is None else disk * 1024,
        processes=number(values.get("processes")) or 0,
    )
