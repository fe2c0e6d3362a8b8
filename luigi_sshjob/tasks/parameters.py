"""The Luigi parameters of a task class, without looking at all its attributes for each use."""

from __future__ import annotations

import weakref
from typing import Any

import luigi

Parameters = list[tuple[str, luigi.Parameter]]

_known: weakref.WeakKeyDictionary[type, tuple[list[int], Parameters]] = weakref.WeakKeyDictionary()


def known_parameters(kind: type) -> Parameters:
    """As Luigi's `get_params`; kept until the class gets another attribute or parameter.

    Luigi calls it six times for each task, because classes may be extended at any time.
    """
    sizes = [len(vars(base)) for base in kind.__mro__]
    known_sizes, parameters = _known.get(kind, ([], []))
    if sizes != known_sizes or any(_attribute(kind, name) is not parameter for name, parameter in parameters):
        parameters = _find(kind)
        _known[kind] = sizes, parameters
    return list(parameters)


def _find(kind: type) -> Parameters:
    # not by Luigi's method, which raises if the class lacks an attribute that its tasks have
    attributes = ((name, _attribute(kind, name)) for name in dir(kind))
    parameters = [(name, value) for name, value in attributes if isinstance(value, luigi.Parameter)]
    # the order of positional arguments
    return sorted(parameters, key=lambda item: item[1]._counter)  # noqa: SLF001


def _attribute(kind: type, name: str) -> Any:
    return getattr(kind, name, None)
