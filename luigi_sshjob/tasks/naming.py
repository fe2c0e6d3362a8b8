"""Names of the variables that tell a command its inputs and outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def named(declared: Any, variable: str) -> Iterator[tuple[str, Any]]:
    """Each target with its variable: `variable` for one, with _<KEY> in a dict and _0, _1, … in a list of several."""
    if isinstance(declared, (list, tuple)) and len(declared) == 1:
        declared = declared[0]
    yield from _named(declared, variable)


def _named(declared: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(declared, Mapping):
        for key, value in declared.items():
            yield from _named(value, f"{name}_{re.sub('[^A-Z0-9]', '_', str(key).upper())}")
    elif isinstance(declared, Iterable) and not isinstance(declared, (str, os.PathLike)):
        # as Luigi's `flatten`
        for number, value in enumerate(declared):
            yield from _named(value, f"{name}_{number}")
    elif declared is not None:
        yield name, declared


def structure(declared: Any, of_target: Callable[[Any], Any]) -> Any:
    """The same with other values in place of targets: dicts stay dicts, other collections become lists."""
    if isinstance(declared, Mapping):
        return {key: structure(value, of_target) for key, value in declared.items()}
    if isinstance(declared, Iterable) and not isinstance(declared, (str, os.PathLike)):
        return [structure(value, of_target) for value in declared]
    return of_target(declared)
