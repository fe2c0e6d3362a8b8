"""Formats log lines, durations and messages for people, safely for luigid's page, which inserts them as HTML."""

from __future__ import annotations

import html
import re

# control sequences (such as colours), control strings and other escape sequences of ECMA-48
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])")
# other control characters, surrogates, Unicode line separators, and characters that change the direction of text
_INVISIBLE = re.compile("[\0-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_REFERENCE = re.compile(r"&[^\s<&;]{1,32};?")
_WORD_JOINER = "\u2060"


def printable_line(line: str, width: int) -> str:
    """Removes colours, spells out other control characters, and cuts the line after `width` characters."""
    line = _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), _SEQUENCE.sub("", line))
    return line if len(line) <= width else f"{line[:width]} … ({len(line) - width} more characters)"


def escape_status(text: str) -> str:
    """Makes a status message safe for luigid's page, which inserts it as HTML, and readable elsewhere.

    Programs other than the page show the text unchanged, so it cannot be escaped. Instead, an invisible character is
    put into each tag and character reference.
    """
    return _REFERENCE.sub(_break_reference, _TAG.sub(f"<{_WORD_JOINER}", text))


def escape_response(text: str) -> str:
    """Escapes the response to a scheduler message, which luigid's page inserts as HTML."""
    return html.escape(text, quote=False)


def format_duration(seconds: float) -> str:
    """Formats a duration in its two largest units: 8 s, 3 min 20 s, 2 h 13 min, 5 d 4 h."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = {"d": days, "h": hours, "min": minutes, "s": rest}
    units = list(counts)
    largest = next((number for number, unit in enumerate(units) if counts[unit]), len(units) - 1)
    return " ".join(f"{counts[unit]} {unit}" for unit in units[largest : largest + 2] if counts[unit]) or "0 s"


def format_seconds(seconds: float) -> str:
    """Formats a measured time: 1.2 ms, 0.35 s, 12 s."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def format_size(size: float) -> str:
    """Formats a number of bytes: 8 B, 1.5 KiB, 12 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _break_reference(match: re.Match[str]) -> str:
    reference = match[0]
    return reference if html.unescape(reference) == reference else f"&{_WORD_JOINER}{reference[1:]}"
