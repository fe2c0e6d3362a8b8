"""Validates a task's attributes and fills in defaults from the configuration of its host."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta
from typing import Any

from luigi_sshjob import config
from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.launchers.base import Launcher, LaunchOptions, LaunchSpec
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.limits import Limits
from luigi_sshjob.jobs.model import JobPaths, job_key
from luigi_sshjob.jobs.setup import Setup
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.tasks import hosts, pool
from luigi_sshjob.tasks.attributes import TaskAttributes, has_default
from luigi_sshjob.tasks.retries import Retries


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """The attributes of one task, validated. Times are seconds.

    Its environment is not among them: that may hold secrets, and only a submission reads it.
    """

    context: RemoteContext
    base_dir: str
    launcher: Launcher
    launch_options: LaunchOptions
    setup: Setup
    retries: Retries
    slots: Slots
    time_limit: float
    kill_grace: float
    limits: Limits
    gentle: Gentle
    queue_timeout: float
    poll_interval: float
    cleanup: str
    on_worker_exit: str
    success_exit_codes: tuple[int, ...]
    tracking_url: str
    accepts_messages: bool
    send_messages: bool
    log_lines: int

    @classmethod
    def of(cls, task: TaskAttributes) -> JobOptions:
        """Raises `ConfigurationError` for an attribute with an invalid value."""
        attributes = _Attributes(task)
        with error_context(host=str(attributes.context.destination), job=task.task_id):
            return attributes.options()

    def launch_spec(self, command: str) -> LaunchSpec:
        """Raises `ConfigurationError` for options that the launcher does not accept, or that are in the command."""
        self.launcher.check_command(command)
        return self.launcher.launch(self.launch_options)

    def host_jobs(self) -> HostJobs:
        """The jobs of the task's host, over this process's connection to it."""
        return HostJobs(
            self.context.connection,
            self.base_dir,
            self.launcher,
            poll_interval=self.poll_interval,
            kill_grace=self.kill_grace,
            queue_timeout=self.queue_timeout,
        )


def remote_context(task: TaskAttributes) -> RemoteContext:
    """How the task's host is reached. Asks the hosts of a pool, unless the task is bound to one of them."""
    return hosts.context_on(task, pool.host_of(task))


def accepts_messages(task: TaskAttributes) -> bool:
    """The setting for the task's host, of a pool the first one; errors in settings are left to the run of the task."""
    try:
        context = hosts.context_on(task, hosts.bound_host(task) or hosts.first_host(task))
        return config.get_settings(context.destination).accepts_messages == "true"
    except Exception:  # noqa: BLE001 - users' code; here an error would end Luigi's worker
        return True


def job_paths(task: TaskAttributes) -> JobPaths:
    """The paths of the task's jobs on its host; reads no other attributes than these need."""
    attributes = _Attributes(task)
    with error_context(host=str(attributes.context.destination), job=task.task_id):
        return JobPaths(attributes.get("base_dir"), job_key(task.task_id))


def working_directory(task: TaskAttributes) -> str:
    """The directory in which the command starts; "" is the copy of its project, unless the task sets another one."""
    return "" if task.project and has_default(task, "working_directory") else str(task.working_directory or "~")


def checked_environment(value: Any) -> dict[str, str]:
    """The attribute `environment` as a dict; an error shows none of its values."""
    try:
        return dict(value or {})
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"environment must be a dict, not {type(value).__name__}", next_step="use a dict of str to str"
        ) from None


def success_exit_codes(task: TaskAttributes) -> tuple[int, ...]:
    """The attribute as a tuple; it may be a single one."""
    codes = task.success_exit_codes
    try:
        return (codes,) if isinstance(codes, int) else tuple(codes)
    except TypeError:
        raise ConfigurationError(
            f"success_exit_codes must be a tuple: {codes!r}", next_step="use a tuple of integers from 0 to 255"
        ) from None


class _Attributes:
    def __init__(self, task: TaskAttributes):
        self._task = task
        self.context = remote_context(task)
        self._settings = config.get_settings(self.context.destination)

    def get(self, name: str) -> Any:
        own = getattr(self._task, name)
        return getattr(self._settings, name) if own is None else own

    def options(self) -> JobOptions:
        time_limit, kill_grace = self._seconds("time_limit"), self._seconds("kill_grace")
        limits = Limits.checked(self._seconds("idle_limit"), self.get("log_limit"), self._task.warning, time_limit)
        launcher = get_launcher(self.get("launcher"))
        return JobOptions(
            context=self.context,
            base_dir=self.get("base_dir"),
            launcher=launcher,
            launch_options=LaunchOptions(
                options=getattr(self._task, launcher.options_attribute, None) or {},
                batch=self._task.batch,
                time_limit=time_limit,
                kill_grace=kill_grace,
                warning=limits.warning,
            ),
            slots=Slots.checked(self._task.slots, self._settings.slots, self._settings.slots_dir, launcher),
            setup=Setup.checked(self.get("setup"), self.get("modules"), self._flag("login_shell")),
            retries=Retries.checked(self.get("retries")),
            time_limit=time_limit,
            kill_grace=kill_grace,
            limits=limits,
            gentle=Gentle.checked(
                self.get("nice"), self.get("ionice"), self.get("memory_limit"), self.get("cpu_limit"), launcher
            ),
            queue_timeout=self._seconds("queue_timeout"),
            poll_interval=self._poll_interval(),
            cleanup=self._choice("cleanup", config.CLEANUP_POLICIES),
            on_worker_exit=self._choice("on_worker_exit", config.EXIT_POLICIES),
            success_exit_codes=success_exit_codes(self._task),
            tracking_url=self.get("tracking_url"),
            accepts_messages=self._flag("accepts_messages"),
            send_messages=self._flag("send_messages"),
            log_lines=self._settings.log_lines,
        )

    def _seconds(self, name: str) -> float:
        value = self.get(name)
        try:
            seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
            if math.isfinite(seconds):
                return seconds
        except (TypeError, ValueError):
            pass
        raise ConfigurationError(
            f"invalid time in a task attribute: {name} is {value!r}",
            next_step="use seconds as a number, or a timedelta",
        ) from None

    def _poll_interval(self) -> float:
        seconds = self._seconds("poll_interval")
        if not seconds > 0:
            raise ConfigurationError(
                f"poll_interval must be greater than 0: {seconds}", next_step="use seconds greater than 0"
            )
        return seconds

    def _choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.get(name)
        if value not in choices:
            raise ConfigurationError(
                f"invalid value for a task attribute: {name} is {value!r}", next_step=f"use one of {', '.join(choices)}"
            )
        return str(value)

    def _flag(self, name: str) -> bool:
        value = self.get(name)
        if not isinstance(value, bool) and value not in ("false", "true"):
            raise ConfigurationError(
                f"invalid value for a task attribute: {name} is {value!r}", next_step="use True or False"
            )
        return value in (True, "true")
