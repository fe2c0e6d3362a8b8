"""Completeness of many tasks with one request for each host."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from luigi.target import Target
from luigi.task import flatten

from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.targets.target import RemoteTarget

logger = logging.getLogger("luigi-interface")


class RemoteBulkComplete:
    """Mixin for tasks with remote outputs that makes ranges of them (`luigi.tools.range`) fast.

    List it before the task class. A task is complete if all targets of its `output()` exist, remote or not. One with a
    path whose file system does not respond is not; a warning names the path. Raises the other errors of
    `RemoteFileSystem.exists_many`.
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
        found, stuck = filesystem.exists_where_known([target.path for target in on_host])
        if stuck:
            # these tasks count as incomplete; their own complete() raises the error before any of them runs
            logger.warning("%s\n%d paths were not checked.", stuck, found.count(None))
        existing |= {id(target) for target, exists in zip(on_host, found, strict=True) if exists}
    return existing
