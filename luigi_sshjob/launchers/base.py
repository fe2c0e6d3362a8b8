"""What a launcher is: data."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Launcher:
    """`name` is what a task says; the agent's function `launch_<name>` in `remote/submit.sh` does it."""

    name: str
    start_timeout: float
    """Seconds after which a launch that shows no supervisor is repeated; harmless, as only one can win."""
