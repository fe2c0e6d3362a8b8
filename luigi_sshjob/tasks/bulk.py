"""Completeness of many tasks at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luigi.target import Target
from luigi.task import flatten

from luigi_sshjob.targets.filesystem import RemoteFileSystem
from luigi_sshjob.targets.target import RemoteTarget


class RemoteBulkComplete:
    """Mixin for tasks with remote outputs: a range of them (`luigi.tools.range`) is looked for in one request a host.

    Goes before the task in the list of bases. A task is complete where all of its `output()` exists, be it remote or
    not. Raises what `RemoteFileSystem.exists_many` raises.
    """

    output: Any

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[Any]) -> list[Any]:
        """Those of the parameters whose tasks are complete, see `luigi.Task.bulk_complete`."""
        wanted = list(parameter_tuples)
        outputs = [flatten(_task(cls, parameters).output()) for parameters in wanted]
        there = _existing([target for targets in outputs for target in targets])
        return [
            parameters
            for parameters, targets in zip(wanted, outputs, strict=True)
            if targets and all(id(target) in there for target in targets)
        ]


def _task(cls: Any, parameters: Any) -> Any:
    # what Luigi's own MixinNaiveBulkComplete takes
    if isinstance(parameters, (list, tuple)):
        return cls(*parameters)
    return cls(**parameters) if isinstance(parameters, Mapping) else cls(parameters)


def _existing(targets: list[Target]) -> set[int]:
    """The ids of those that exist."""
    remote: dict[Any, tuple[RemoteFileSystem, list[RemoteTarget]]] = {}
    there = set()
    for target in targets:
        if isinstance(target, RemoteTarget):
            remote.setdefault(target.fs.remote_context, (target.fs, []))[1].append(target)
        elif target.exists():
            there.add(id(target))
    for files, ours in remote.values():
        found = files.exists_many([target.path for target in ours])
        there |= {id(target) for target, exists in zip(ours, found, strict=True) if exists}
    return there
