"""Values as Python code, for scripts that run elsewhere."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

from luigi.freezing import FrozenOrderedDict

_SAME = (type(None), bool, int, str, bytes)
_OF_DATETIME = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
_TIME_ZONES = (type(None), datetime.timezone)


class NotPlain(Exception):
    """A value that has no literal. Its text says what it is."""


def literal(value: Any) -> str:
    """The code, the same each time; it may need the modules `datetime` and `decimal`. Luigi's own dicts become dicts.

    Raises `NotPlain`.
    """
    try:
        return _literal(value)
    except RecursionError:
        raise NotPlain("nested too deeply") from None
    except ValueError as error:
        # an integer of thousands of digits
        raise NotPlain(str(error)) from None


def _literal(value: Any) -> str:
    kind = type(value)
    if kind in _SAME or (kind in _OF_DATETIME and type(getattr(value, "tzinfo", None)) in _TIME_ZONES):
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if kind is decimal.Decimal:
        return f"decimal.{value!r}"
    if kind in (dict, FrozenOrderedDict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    if kind in (list, tuple):
        items = f"[{', '.join(map(_literal, value))}]"
        return items if kind is list else f"tuple({items})"
    if kind in (set, frozenset):
        # in the same order in each process
        return f"{kind.__name__}([{', '.join(sorted(map(_literal, value)))}])"
    raise NotPlain(f"of type {kind.__qualname__}")


def text_literal(text: str) -> str:
    """A literal of several lines that shows the text nearly as it is."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""\\\n{escaped}"""'
