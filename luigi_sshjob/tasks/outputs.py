"""Maps a task's `output()` to the SSHJOB_OUTPUT variables of its command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from luigi.task import flatten

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.spec import Output
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget

_VARIABLE = "SSHJOB_OUTPUT"


def target_on(context: RemoteContext, path: str, format: Any = None) -> RemoteTarget:  # noqa: A002 - Luigi's word
    """A target on the host of `context`."""
    return RemoteTarget(path, context.host, format=format, **context.options)


def command_outputs(declared: Any, context: RemoteContext) -> tuple[Output, ...]:
    """The outputs on the host of `context`: SSHJOB_OUTPUT for one, with _<KEY> in a dict and _0, _1, … in a list."""
    if isinstance(declared, (list, tuple)) and len(declared) == 1:
        declared = declared[0]
    return tuple(Output(name, target.path) for name, target in _named(declared, _VARIABLE) if _on(target, context))


def check_outputs(declared: Any, context: RemoteContext) -> None:
    """Raises `ConfigurationError` for an output on another host, where the command cannot make it."""
    for _, target in _named(declared, _VARIABLE):
        if not _on(target, context):
            raise ConfigurationError(
                f"an output is not on the job's host: {target!r}",
                next_step="make it with self.remote_target(path), or override run() to make it after super().run()",
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


def _named(declared: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(declared, Mapping):
        for key, value in declared.items():
            yield from _named(value, f"{name}_{re.sub('[^A-Z0-9]', '_', str(key).upper())}")
    elif isinstance(declared, (list, tuple)):
        for number, value in enumerate(declared):
            yield from _named(value, f"{name}_{number}")
    elif declared is not None:
        yield name, declared


def _on(target: Any, context: RemoteContext) -> bool:
    return isinstance(target, RemoteTarget) and target.fs.remote_context == context
