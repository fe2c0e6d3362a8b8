"""The Luigi parameters of a task class, without looking at all its attributes for each use."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import luigi

Parameters = list[tuple[str, luigi.Parameter]]

_known: weakref.WeakKeyDictionary[type, tuple[list[int], Parameters]] = weakref.WeakKeyDictionary()


def known_parameters(kind: type, find: Callable[[], Parameters]) -> Parameters:
    """What `find` returns, Luigi's `get_params`; it is kept until the class gets another attribute or parameter.

    Luigi calls it six times for each task, because classes may be extended at any time.
    """
    sizes = [len(vars(base)) for base in kind.__mro__]
    known_sizes, parameters = _known.get(kind, ([], []))
    if sizes != known_sizes or any(_attribute(kind, name) is not parameter for name, parameter in parameters):
        parameters = find()
        _known[kind] = sizes, parameters
    return list(parameters)


def _attribute(kind: type, name: str) -> Any:
    return getattr(kind, name, None)
