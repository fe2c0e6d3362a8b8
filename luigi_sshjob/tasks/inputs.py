"""Maps a task's `inputs()` to the SSHJOB_INPUT variables of its command; sends these and its project to the host."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import luigi

from luigi_sshjob.error_context import error_context, translate_local_file_errors
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.inputs import CachedInput, HostInput, Input
from luigi_sshjob.jobs.model import JobPaths
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.retry import Retry
from luigi_sshjob.ssh.shell.bounds import invalid
from luigi_sshjob.targets.content import Content
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.host_cache import HostCache
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.naming import named
from luigi_sshjob.tasks.project import project_content
from luigi_sshjob.text import one_line

logger = logging.getLogger("luigi-interface")

_VARIABLE = "SSHJOB_INPUT"
_MOST_ROUNDS = 5
_MOST = 1000
"""Inputs of a task; more variables would not fit into the environment of a process on each system."""


class TaskInputs:
    """The inputs that a task declares. Raises `ConfigurationError` for one that is neither a target nor a path.

    A target that is no file, such as a table of a database, gets no variable, and none of more than 1,000 inputs does.
    By `default`, if the task does not override `inputs`, nothing that Luigi accepts is an error, because the command
    may not use it: what cannot be an input gets no variable.
    """

    def __init__(
        self, declared: Any, context: RemoteContext, base_dir: str, project: Any = None, *, default: bool = False
    ):
        self._context = context
        self._base_dir = base_dir
        self._project = project
        self._default = default
        self._contents: dict[str, Content] = {}
        self._declared = list(itertools.islice(self._relevant(declared), _MOST + 1))
        if len(self._declared) > _MOST:
            logger.warning("a task has more than %s inputs: they get no %s variables", f"{_MOST:,}", _VARIABLE)
            self._declared = []

    @property
    def may_send(self) -> bool:
        """Whether the host may lack some of them."""
        return bool(self._project) or not all(self._on_host(target) for _, target in self._declared)

    def add_to(self, spec: JobSpec) -> JobSpec:
        """The spec with inputs and project, as they are now; reads those that the host may lack.

        Raises `FileMissing` and `LocalFileError` for a file that does not exist or cannot be read, and
        `ConfigurationError` for an invalid project.
        """
        host = str(self._context.destination)
        with error_context("preparing its inputs", host=host, job=spec.key), translate_local_file_errors():
            inputs = [self._input(variable, target) for variable, target in self._declared]
            return dataclasses.replace(spec, inputs=tuple(inputs), project=self._project_entry())

    def provider(self, spec: JobSpec) -> Callable[[Sequence[str]], JobSpec] | None:
        """What `JobClient.submit` calls for a new attempt: it prepares the spec, then sends what the host lacks.

        None if nothing may have to be copied.
        """
        if not self.may_send:
            return None
        prepared: JobSpec | None = None
        rounds = 0

        def provide(lacking: Sequence[str]) -> JobSpec:
            nonlocal prepared, rounds
            if prepared is None:
                prepared = self.add_to(spec)
                return prepared
            # each round after the first is one in which another client has removed what was sent
            rounds += 1
            if rounds > _MOST_ROUNDS:
                raise invalid(str(self._context.destination), "job_submit", "it lacks inputs that it has received")
            self._supply(lacking)
            return prepared

        return provide

    def _supply(self, entries: Sequence[str]) -> None:
        cache = HostCache(self._context.connection, self._base_dir)
        for entry in entries:
            if entry not in self._contents:
                raise invalid(str(self._context.destination), "job_submit", f"the job has no such input: {entry}")
            cache.add(self._contents[entry])

    def forget(self) -> None:
        """Frees memory after the submission."""
        self._contents.clear()

    def _project_entry(self) -> str:
        if not self._project:
            return ""
        return self._known(project_content(self._project))

    def _known(self, content: Content) -> str:
        self._contents[content.entry] = content
        return content.entry

    def _input(self, variable: str, target: Any) -> Input:
        if self._on_host(target):
            return HostInput(variable, target.path)
        if isinstance(target, RemoteTarget):
            path = Retry(target.fs.remote_context.connection.settings.unreachable_timeout).call(target.localize)
        else:
            path = _local_path(target)
        entry = self._known(Content(path))
        return CachedInput(variable, entry, os.path.basename(os.path.abspath(path)) or "root")

    def _on_host(self, target: Any) -> bool:
        return isinstance(target, RemoteTarget) and bool(target.fs.remote_context == self._context)

    def _relevant(self, declared: Any) -> Iterator[tuple[str, Any]]:
        names = set()
        for variable, target in named(declared, _VARIABLE):
            if not isinstance(target, (RemoteTarget, luigi.LocalTarget, str, os.PathLike)):
                if not self._default and not isinstance(target, luigi.Target):
                    raise ConfigurationError(
                        f"an input must be a target or a path: {target!r}",
                        next_step="let inputs() return targets and paths, or dicts and lists of them",
                    )
            elif not self._default:
                yield variable, target
            elif variable in names:
                logger.warning("two inputs would share the variable %s: the second one gets none", variable)
            elif not isinstance(target, RemoteTarget) and not os.path.exists(_local_path(target)):
                logger.warning("an input does not exist, and gets no variable: %s", one_line(_local_path(target)))
            elif self._on_host(target) or not _is_left_behind(variable, target):
                names.add(variable)
                yield variable, target


def _local_path(target: Any) -> str:
    return str(target.path) if isinstance(target, luigi.LocalTarget) else os.fspath(target)


def _is_left_behind(variable: str, target: Any) -> bool:
    """Whether it is the record or the log of another job, of a task without other outputs."""
    own_name = variable.endswith(("_EXIT_RECORD", "_LOG"))
    return own_name and isinstance(target, RemoteTarget) and JobPaths.is_published(target.path)
