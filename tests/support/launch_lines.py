"""What a launcher writes to the file `launch` of a job."""

from __future__ import annotations

from luigi_sshjob.jobs.launchers.base import LaunchSpec


def submit_line(spec: LaunchSpec) -> str:
    """The line that submits the job."""
    return dict(line.split(": ", 1) for line in spec.lines)["submit"]
