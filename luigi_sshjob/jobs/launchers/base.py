"""What a launcher is: data, and the text that the host needs to start a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class LaunchOptions:
    """A task's attributes that concern its launcher. Times are seconds; a `time_limit` of 0 is no limit.

    `warning` is how long before a limit of the scheduler the job is to be told.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch: int = 1
    time_limit: float = 0
    kill_grace: float = 10
    warning: float = 0


@dataclasses.dataclass(frozen=True)
class LaunchSpec:
    """`lines` follow the launcher's name in the file `launch` of a job directory; `requeue` allows a second run.

    `term_waits` says that the scheduler leaves the time of the task's warning between TERM and KILL.
    """

    lines: tuple[str, ...] = ()
    requeue: bool = False
    term_waits: bool = False


@dataclasses.dataclass(frozen=True)
class Launcher:
    """How jobs are started. Needs no options unless a subclass does."""

    name: str
    start_timeout: float
    """Seconds after which a launch is repeated if no supervisor has started; harmless, as only one can win."""
    options_attribute: str = ""
    """The task's attribute with its options, if it has any."""
    launches: float = 6
    """How many launches are tried."""
    limit_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The options of its scheduler that limit a job, by the task's attributes that would be second limits."""
    on_host: bool = True
    """Whether the jobs run on the host itself, and so see the same files."""

    def check_command(self, command: str) -> None:
        """Raises `ConfigurationError` for a command with lines that would be ignored."""

    def launch(self, options: LaunchOptions) -> LaunchSpec:  # noqa: ARG002 - the interface of all launchers
        """Raises `ConfigurationError` for options that the launcher does not accept."""
        return LaunchSpec()
