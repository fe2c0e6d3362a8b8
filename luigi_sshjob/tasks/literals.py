"""Python code for plain values, for scripts that run elsewhere."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping
from typing import Any

from luigi.freezing import FrozenOrderedDict

_SAME = (type(None), bool, int, str, bytes)
_OF_DATETIME = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
_TIME_ZONES = (type(None), datetime.timezone)


def literal(value: Any) -> str:
    """The code, the same each time; it may need the modules `datetime` and `decimal`. Luigi's own dicts become dicts.

    Raises `TypeError` with the type of a value that is not plain.
    """
    kind = type(value)
    if kind in _SAME or (kind in _OF_DATETIME and type(getattr(value, "tzinfo", None)) in _TIME_ZONES):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is decimal.Decimal:
        return f"decimal.{value!r}"
    if kind in (dict, FrozenOrderedDict):
        return _dict(value)
    if kind in (list, tuple):
        return f"{'tuple' * (kind is tuple)}([{', '.join(map(literal, value))}])"
    if kind in (set, frozenset):
        # in the same order in each process
        return f"{kind.__name__}([{', '.join(sorted(map(literal, value)))}])"
    raise TypeError(kind.__qualname__)


def _dict(value: Mapping[Any, Any]) -> str:
    return "{" + ", ".join(f"{literal(key)}: {literal(each)}" for key, each in value.items()) + "}"


def text_literal(text: str) -> str:
    """A literal of several lines that shows the text nearly as it is."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""\\\n{escaped}"""'
