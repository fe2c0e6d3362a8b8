"""Maps a task's `output()` to the SSHJOB_OUTPUT variables of its command."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import luigi
from luigi.task import flatten

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.spec import Output, ReturnedOutput
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.naming import named

_VARIABLE = "SSHJOB_OUTPUT"


def target_on(context: RemoteContext, path: str, format: Any = None) -> RemoteTarget:  # noqa: A002 - Luigi's word
    """A target on the host of `context`."""
    return RemoteTarget(path, context.host, format=format, **context.options)


def command_outputs(declared: Any, context: RemoteContext) -> tuple[Output, ...]:
    """The outputs on the host of `context`, with their SSHJOB_OUTPUT variables."""
    return tuple(Output(name, target.path) for name, target in named(declared, _VARIABLE) if _on(target, context))


def returned_outputs(declared: Any) -> tuple[ReturnedOutput, ...]:
    """The local files and directories among the outputs, with their SSHJOB_OUTPUT variables.

    Raises `ConfigurationError` if they cannot be put in place one after the other.
    """
    targets = [(name, target) for name, target in named(declared, _VARIABLE) if isinstance(target, luigi.LocalTarget)]
    # with a slash, so that what is in a directory follows it
    paths = sorted(f"{os.path.abspath(target.path)}/" for _, target in targets)
    for first, second in itertools.pairwise(paths):
        if second.startswith(first):
            raise ConfigurationError(
                f"two local outputs are at one path, or one is in the other: {first[:-1]} and {second[:-1]}",
                next_step="use paths that differ, of which none is in another",
            )
    return tuple(ReturnedOutput(name, target.path) for name, target in targets)


def check_outputs(declared: Any, context: RemoteContext) -> None:
    """Raises `ConfigurationError` for an output that the command cannot make, and that is no local file, either."""
    for _, target in named(declared, _VARIABLE):
        if not _on(target, context) and not isinstance(target, luigi.LocalTarget):
            raise ConfigurationError(
                f"an output is neither on the job's host nor a local file: {target!r}",
                next_step="use self.remote_target(path) or a LocalTarget, or make it in run(), after super().run()",
            )


def split_outputs(declared: Any, own: set[str]) -> tuple[Any, bool]:
    """The outputs other than the job's own files at the paths `own`, and whether there are any of the latter."""

    def is_own(target: Any) -> bool:
        return getattr(target, "path", None) in own

    if not any(map(is_own, flatten(declared))):
        return declared, False
    if isinstance(declared, Mapping):
        return {key: target for key, target in declared.items() if not is_own(target)}, True
    return [target for target in flatten(declared) if not is_own(target)], True


def _on(target: Any, context: RemoteContext) -> bool:
    return isinstance(target, RemoteTarget) and target.fs.remote_context == context
