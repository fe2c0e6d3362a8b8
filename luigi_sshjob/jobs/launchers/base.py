"""What a launcher is: data, and how a task's wishes become text for the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class LaunchOptions:
    """What a task says that is the launcher's business. Times are seconds; a `time_limit` of 0 is none."""

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch: int = 1
    time_limit: float = 0
    kill_grace: float = 10
    interval: float = 15


@dataclasses.dataclass(frozen=True)
class LaunchSpec:
    """`lines` follow the launcher's name in the file `launch` of a job directory; `requeue`: it may be run again."""

    lines: tuple[str, ...] = ()
    requeue: bool = False


@dataclasses.dataclass(frozen=True)
class Launcher:
    """`name` is what a task says; the agent's function `launch_<name>` in `remote/` does it."""

    name: str
    start_timeout: float
    """Seconds after which a launch that shows no supervisor is repeated; harmless, as only one can win."""
    launches: float = 6
    """How often it is repeated before it is given up."""

    def launch(self, wishes: LaunchOptions) -> LaunchSpec:
        """What the host needs to know. Raises `ConfigurationError` for wishes that cannot be met."""
        return LaunchSpec()
