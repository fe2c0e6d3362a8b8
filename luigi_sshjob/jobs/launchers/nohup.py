"""A detached process on the host itself, which needs no other software."""

from luigi_sshjob.jobs.launchers.base import Launcher

NOHUP = Launcher(name="nohup", start_timeout=10.0)
