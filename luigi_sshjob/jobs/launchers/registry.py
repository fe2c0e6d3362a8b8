"""How a job is started on its host. A new launcher is its own file and a line here."""

from __future__ import annotations

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher, LaunchOptions, LaunchSpec
from luigi_sshjob.jobs.launchers.nohup import NOHUP
from luigi_sshjob.jobs.launchers.slurm import SLURM

_LAUNCHERS = {launcher.name: launcher for launcher in (NOHUP, SLURM)}
NAMES = tuple(_LAUNCHERS)

__all__ = ["NAMES", "LaunchOptions", "LaunchSpec", "Launcher", "get_launcher"]


def get_launcher(name: str) -> Launcher:
    """Raises `ConfigurationError` for a name that is none."""
    if not isinstance(name, str) or name not in _LAUNCHERS:
        raise ConfigurationError(
            f"there is no such launcher: {name!r}",
            next_step=f"set launcher to one of {', '.join(sorted(_LAUNCHERS))}",
        )
    return _LAUNCHERS[name]
