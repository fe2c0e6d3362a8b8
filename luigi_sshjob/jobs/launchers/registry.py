"""All launchers by name. A new one is a module of its own and a line here."""

from __future__ import annotations

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.launchers.base import Launcher
from luigi_sshjob.jobs.launchers.htcondor import HTCONDOR
from luigi_sshjob.jobs.launchers.nohup import NOHUP
from luigi_sshjob.jobs.launchers.scheduler import Scheduler
from luigi_sshjob.jobs.launchers.sge import SGE
from luigi_sshjob.jobs.launchers.slurm import SLURM

_LAUNCHERS: dict[str, Launcher] = {launcher.name: launcher for launcher in (NOHUP, SLURM, SGE, HTCONDOR)}
SCHEDULERS = {name: launcher for name, launcher in _LAUNCHERS.items() if isinstance(launcher, Scheduler)}
NAMES = tuple(_LAUNCHERS)


def get_launcher(name: str) -> Launcher:
    """Raises `ConfigurationError` for an unknown name."""
    if not isinstance(name, str) or name not in _LAUNCHERS:
        raise ConfigurationError(
            f"there is no such launcher: {name!r}",
            next_step=f"set launcher to one of {', '.join(sorted(_LAUNCHERS))}",
        )
    return _LAUNCHERS[name]
