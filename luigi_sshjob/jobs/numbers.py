"""Numbers in responses and specs."""

from __future__ import annotations

import re


def number(text: str | None) -> int | None:
    """A whole number in a response; None for anything else, also for more than 19 digits."""
    return int(text) if text and re.fullmatch("[0-9]{1,19}", text) else None
