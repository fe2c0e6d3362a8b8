"""What the attributes of a task come to: checked, and with the settings of its host where it does not say."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from luigi_sshjob import config
from luigi_sshjob.error_context import error_context
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.launchers.base import Launcher, LaunchOptions
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.model import JobPaths, job_key
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext

_POLICIES = {"cleanup": config.CLEANUP_POLICIES, "on_worker_exit": config.EXIT_POLICIES}


class Declared:
    """The part of `RemoteJobTask` that reads its attributes. All raise `ConfigurationError` for one that cannot be
    used."""

    host: Any
    ssh_options: Any
    transport: Any
    environment: Any
    success_exit_codes: Any
    sbatch_options: Any
    batch: Any
    task_id: str
    task_family: str

    @property
    def remote_context(self) -> RemoteContext:
        """How the host is reached."""
        if not self.host:
            raise ConfigurationError(
                f"the task has no host: {self.task_family}", job=self.task_id, next_step="set its attribute `host`"
            )
        try:
            options = {str(name): value for name, value in dict(self.ssh_options or {}).items()}
            if self.transport:
                options["transport"] = self.transport
            with error_context(job=self.task_id):
                return RemoteContext(self.host, **options)
        except (TypeError, ValueError) as error:
            if isinstance(error, SSHJobError):
                raise
            raise self._wrong(
                f"ssh_options is no dict of options: it is a {type(self.ssh_options).__name__}",
                "give keywords of luigi.contrib.ssh.RemoteContext and their values",
            ) from None

    @property
    def _settings(self) -> config.Settings:
        return config.settings(self.remote_context.destination)

    def _setting(self, name: str) -> Any:
        own = getattr(self, name)
        return getattr(self._settings, name) if own is None else own

    def _seconds(self, name: str) -> float:
        value = self._setting(name)
        try:
            seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
            if math.isfinite(seconds):
                return seconds
        except (TypeError, ValueError):
            pass
        raise self._wrong(
            f"a time of the task is no number: {name} is {value!r}", "give seconds as a number, or a timedelta"
        ) from None

    def _wrong(self, problem: str, next_step: str) -> ConfigurationError:
        return ConfigurationError(problem, host=str(self.host), job=self.task_id, next_step=next_step)

    def _paths(self) -> JobPaths:
        with error_context(host=str(self.host), job=self.task_id):
            return JobPaths(self._setting("base_dir"), job_key(self.task_id))

    def _launcher(self) -> Launcher:
        with error_context(host=str(self.host), job=self.task_id):
            return get_launcher(self._setting("launcher"))

    def _wishes(self) -> LaunchOptions:
        return LaunchOptions(
            options=self.sbatch_options or {},
            batch=self.batch,
            time_limit=self._seconds("time_limit"),
            kill_grace=self._seconds("kill_grace"),
            interval=self._settings.scheduler_interval,
        )

    def _control(self) -> JobClient:
        with error_context(job=self.task_id):
            return JobClient(self.remote_context.connection, self._setting("base_dir"), self._launcher())

    def _patience(self) -> Retry:
        return Retry(self._settings.unreachable_timeout)

    def _little_patience(self) -> Retry:
        return Retry(min(self._settings.unreachable_timeout, self._settings.request_timeout))

    def _monitor(self, patience: Retry | None = None) -> JobMonitor:
        poll_interval = self._seconds("poll_interval")
        if not poll_interval > 0:
            raise self._wrong(f"the task's poll_interval is not above 0: {poll_interval}", "give seconds above 0")
        return JobMonitor(
            self._control(),
            patience or self._patience(),
            poll_interval=poll_interval,
            start_timeout=self._launcher().start_timeout,
            launches=self._launcher().launches,
        )

    def _policy(self, name: str) -> str:
        policy = self._setting(name)
        if policy not in _POLICIES[name]:
            raise self._wrong(
                f"a policy of the task is none: {name} is {policy!r}", f"use one of {', '.join(_POLICIES[name])}"
            )
        return str(policy)

    def _environment(self) -> dict[str, str]:
        try:
            return dict(self.environment or {})
        except (TypeError, ValueError):
            # it may hold secrets
            raise self._wrong(
                f"environment is no dict: it is a {type(self.environment).__name__}", "give a dict of str to str"
            ) from None

    def _codes(self) -> tuple[int, ...]:
        codes = self.success_exit_codes
        try:
            return (codes,) if isinstance(codes, int) else tuple(codes)
        except TypeError:
            raise self._wrong(
                f"success_exit_codes is no tuple: {codes!r}", "give a tuple of whole numbers from 0 to 255"
            ) from None
