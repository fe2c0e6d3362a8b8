"""The attributes of `RemoteJobTask`."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import luigi.util

__all__ = ["DefaultAttribute", "TaskAttributes", "has_default", "overridable"]


class DefaultAttribute:
    """Returns the default, also of the class, until a class or an instance has a value of its own."""

    def __init__(self, default: Callable[[Any], Any]):
        self._default = default
        self.__doc__ = default.__doc__

    def __get__(self, task: Any, owner: type) -> Any:
        # `inherits` and `requires` add a parameter of the other task only if the class has no such attribute
        if task is None and sys._getframe(1).f_globals.get("__name__") == luigi.util.__name__:  # noqa: SLF001
            raise AttributeError(self._default.__name__)
        return self._default(task)


if TYPE_CHECKING:
    # The name is known to mypy, which takes it for True (mypy's documentation, "Common issues"). With a property, mypy
    # allows all three forms of an override and finds values of a wrong type; to pyright only Any allows all three.
    MYPY = False
    if MYPY:
        from builtins import property as overridable
    else:

        def overridable(default: Callable[[Any], Any]) -> Any:
            """Any."""

else:
    overridable = DefaultAttribute


def has_default(task: object, name: str) -> bool:
    """Whether a task has an attribute that neither its class nor the task sets."""
    return name not in vars(task) and isinstance(inspect.getattr_static(type(task), name, None), DefaultAttribute)


class TaskAttributes:
    """Each may be overridden by a class attribute, a property or a Luigi parameter.

    None means the setting in `[sshjob]`. Times are seconds or a timedelta.
    """

    task_id: str
    task_family: str

    @overridable
    def host(self) -> str | list[str] | tuple[str, ...] | None:
        """The host: an alias of ssh's configuration, or user@host:port. Of a list one is chosen when the task runs."""
        return None

    @overridable
    def ssh_options(self) -> Mapping[str, Any]:
        """Keyword arguments of `RemoteContext`."""
        return {}

    @overridable
    def transport(self) -> str | None:
        """The transport: "openssh", "paramiko" or "local"."""
        return None

    @overridable
    def environment(self) -> Mapping[str, str]:
        """Environment variables of the command. Never shown, logged or passed as an argument."""
        return {}

    @overridable
    def setup(self) -> str | None:
        """Lines that are run before the command, in the same shell: bash if the host has it, otherwise sh."""
        return None

    @overridable
    def modules(self) -> Sequence[str] | str | None:
        """Environment modules that are loaded before the lines of `setup`."""
        return None

    @overridable
    def login_shell(self) -> bool | None:
        """Whether that shell is a login shell, which reads /etc/profile and ~/.bash_profile or ~/.profile first."""
        return None

    @overridable
    def working_directory(self) -> str:
        """The directory in which the command starts, by default the account's home directory."""
        return "~"

    @overridable
    def project(self) -> str | os.PathLike[str] | Sequence[str] | None:
        """A local directory, or patterns of files, that the host gets; the command starts in a copy of its own."""
        return None

    @overridable
    def success_exit_codes(self) -> int | Iterable[int]:
        """The exit codes that mean success."""
        return (0,)

    @overridable
    def time_limit(self) -> float | timedelta | None:
        """The host ends a job that runs longer; 0 is no limit."""
        return None

    @overridable
    def retries(self) -> Mapping[str, int] | str | None:
        """How often a run starts another attempt itself, by cause: {"lost": 3, "preempted": 5, "memory": 1}."""
        return None

    @overridable
    def kill_grace(self) -> float | timedelta | None:
        """The time between TERM and KILL when a job is ended."""
        return None

    @overridable
    def idle_limit(self) -> float | timedelta | None:
        """The host ends a job that writes nothing to its log or its progress for so long; 0 is no limit."""
        return None

    @overridable
    def log_limit(self) -> int | tuple[int, str] | str | None:
        """The size of the log in bytes at which the host ends the job, or with (bytes, "truncate") shortens the log."""
        return None

    @overridable
    def warning(self) -> tuple[str, float | timedelta] | None:
        """A signal for the job, and the time before its time limit at which it comes: ("USR1", 120)."""
        return None

    @overridable
    def nice(self) -> int | None:
        """How much lower the CPU priority of the job is, from 0 to 19."""
        return None

    @overridable
    def ionice(self) -> str | None:
        """The I/O priority of the job: "idle", or "best-effort:0" to "best-effort:7"."""
        return None

    @overridable
    def memory_limit(self) -> int | str | None:
        """The memory that the job may use: bytes, or a text such as "8G"; 0 is no limit."""
        return None

    @overridable
    def cpu_limit(self) -> float | None:
        """The number of cores whose time the job may use; a fraction is a part of the time of one; 0 is no limit."""
        return None

    @overridable
    def cleanup(self) -> str | None:
        """When an attempt is removed from the host: "never", "on_success" or "always"."""
        return None

    @overridable
    def on_worker_exit(self) -> str | None:
        """What happens to the job when its worker ends: "leave" or "cancel"."""
        return None

    @overridable
    def poll_interval(self) -> float | timedelta | None:
        """The longest pause between two looks at the job."""
        return None

    @overridable
    def base_dir(self) -> str | None:
        """The directory on the host that job directories are made in."""
        return None

    @overridable
    def launcher(self) -> str | None:
        """How jobs are started: "nohup" on the host itself, or the scheduler of the cluster whose login node it is."""
        return None

    @overridable
    def sbatch_options(self) -> Mapping[str, Any]:
        """Long options of sbatch, like {"partition": "gpu", "mem": "8G", "exclusive": True}; only used with slurm."""
        return {}

    @overridable
    def sge_options(self) -> Mapping[str, Any]:
        """Options of qsub without their dash, like {"q": "gpu.q", "l": {"h_vmem": "8G"}}; only used with sge."""
        return {}

    @overridable
    def condor_options(self) -> Mapping[str, Any]:
        """Submit commands like {"request_cpus": 4, "request_memory": "8G"}; only used with htcondor."""
        return {}

    @overridable
    def slots(self) -> Mapping[str, int]:
        """What the job needs of a host without a scheduler for itself, like {"gpu": 1, "cpu": 4}; it waits for them."""
        return {}

    @overridable
    def queue_timeout(self) -> float | timedelta | None:
        """How long the task waits for a job that is in the queue of a scheduler, or waits for slots."""
        return None

    @overridable
    def batch(self) -> int:
        """Up to how many jobs that wait to be submitted with the same options become one job array."""
        return 1

    @overridable
    def send_messages(self) -> bool | None:
        """Whether luigid receives the status of the job, its last log lines, progress and tracking URL."""
        return None

    @overridable
    def tracking_url(self) -> str | None:
        """The address that luigid's page links to, see `TrackingUrl`; "" for none, or for one that the task sets."""
        return None
