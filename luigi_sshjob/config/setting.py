"""What a setting is: its name, default and description, and the rules for its values."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from typing import Any

import luigi

_MAX_NUMBER = 10**8  # seconds are three years: within what every shell and kernel can count


@dataclasses.dataclass(frozen=True)
class Setting:
    """Name, default, description and rules of one setting."""

    name: str
    default: Any
    description: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    above: float | None = None
    may_be_empty: bool = True
    lines: bool = False
    """Whether it is text for the host of several lines, in which `$` and `%` refer to nothing on this machine."""
    global_reason: str = ""
    """Why it cannot be set in the section of a host; empty if it can."""

    @property
    def kind(self) -> str:
        """The type of its values: "text", "whole number" or "number"."""
        return {str: "text", int: "whole number", float: "number"}[type(self.default)]

    def parse(self, value: object) -> Any:
        """Validate and convert a value from a file or a command line.

        Raises `ValueError`, whose text describes the expected value.
        """
        if self.choices:
            if isinstance(value, bool) and "true" in self.choices:
                # of TOML
                return str(value).lower()
            if value not in self.choices:
                raise ValueError(f"one of {', '.join(self.choices)}")
            return value
        return self._parse_text(value) if isinstance(self.default, str) else self._parse_number(value)

    def _parse_text(self, value: object) -> str:
        if self.lines:
            return self._parse_lines(value)
        # in an INI file an indented line continues the value of the line before
        if not isinstance(value, str) or re.search(r"[\0\r\n]", value) or not (value.strip() or self.may_be_empty):
            raise ValueError("text of one line" if self.may_be_empty else "non-empty text of one line")
        return value

    def _parse_lines(self, value: object) -> str:
        # in TOML it may be a list
        lines: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(line, str) and "\0" not in line for line in lines):
            raise ValueError("text of one or more lines")
        return "\n".join(lines)

    def _parse_number(self, value: object) -> float:
        kind = type(self.default)
        number: float = math.nan
        # TOML has types of its own
        if isinstance(value, (str, int, kind)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError, OverflowError):
                number = kind(value)
        # NaN fails every comparison
        if not 0 <= number <= _MAX_NUMBER or (self.above is not None and number <= self.above):
            bound = "0 or more" if self.above is None else f"above {self.above}"
            unit = f" of {self.unit}" if self.unit else ""
            raise ValueError(f"a {self.kind}{unit}, {bound} and at most {_MAX_NUMBER}")
        return number

    def parameter(self) -> Any:
        """Return the Luigi parameter that declares this setting."""
        text = self.description
        if self.unit:
            text += f" In {self.unit}."
        if self.global_reason:
            text += f" Not in the section of a host: {self.global_reason}."
        if self.choices:
            return luigi.ChoiceParameter(default=self.default, choices=self.choices, description=text)
        kinds: dict[type, Any] = {str: luigi.Parameter, int: luigi.IntParameter, float: luigi.FloatParameter}
        return kinds[type(self.default)](default=self.default, description=text)
