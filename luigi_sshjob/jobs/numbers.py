"""Numbers in responses and specs."""

from __future__ import annotations


def number(text: str | None) -> int | None:
    """A whole number in a response; None for anything else."""
    return int(text) if text and text.isdecimal() else None
