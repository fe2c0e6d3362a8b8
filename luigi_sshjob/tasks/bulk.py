"""Completeness of many tasks with one request for each host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luigi.target import Target
from luigi.task import flatten

from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.targets.target import RemoteTarget


class RemoteBulkComplete:
    """Mixin for tasks with remote outputs that makes ranges of them (`luigi.tools.range`) fast.

    List it before the task class. A task is complete if all targets of its `output()` exist, remote or not. Raises the
    errors of `RemoteFileSystem.exists_many`.
    """

    output: Any

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[Any]) -> list[Any]:
        """The parameters of those tasks that are complete, see `luigi.Task.bulk_complete`."""
        candidates = list(parameter_tuples)
        outputs = [flatten(_task(cls, parameters).output()) for parameters in candidates]
        existing = _existing([target for targets in outputs for target in targets])
        return [
            parameters
            for parameters, targets in zip(candidates, outputs, strict=True)
            if targets and all(id(target) in existing for target in targets)
        ]


def _task(cls: Any, parameters: Any) -> Any:
    # the forms that Luigi's own MixinNaiveBulkComplete accepts
    if isinstance(parameters, (list, tuple)):
        return cls(*parameters)
    return cls(**parameters) if isinstance(parameters, Mapping) else cls(parameters)


def _existing(targets: list[Target]) -> set[int]:
    """The ids of the targets that exist."""
    by_host: dict[Any, tuple[RemoteFileSystem, list[RemoteTarget]]] = {}
    existing = set()
    for target in targets:
        if isinstance(target, RemoteTarget):
            by_host.setdefault(target.fs.remote_context, (target.fs, []))[1].append(target)
        elif target.exists():
            existing.add(id(target))
    for filesystem, on_host in by_host.values():
        found = filesystem.exists_many([target.path for target in on_host])
        existing |= {id(target) for target, exists in zip(on_host, found, strict=True) if exists}
    return existing
