"""What is written for luigid's page: log lines and times as people read them, and nothing that a browser would obey."""

from __future__ import annotations

import html
import re

# what ECMA-48 calls a control sequence, a colour say, or a control string; then what else an escape begins
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])")
# other control characters, halves of pairs, line ends of Unicode, and what turns the direction of the text around it
_UNSEEN = re.compile("[\0-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_REFERENCE = re.compile(r"&[^\s<&;]{1,32};?")
_WORD_JOINER = "\u2060"


def printable_line(line: str, width: int) -> str:
    """A line of a log without colours, other control characters written out, cut where it is longer than `width`."""
    line = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), _SEQUENCE.sub("", line))
    return line if len(line) <= width else f"{line[:width]} … ({len(line) - width} more characters)"


def status(text: str) -> str:
    """`text` as a status message, which Luigi's page inserts as HTML and everything else shows as it is.

    So it cannot be escaped; instead an invisible character parts what would be a tag or a character reference.
    """
    return _REFERENCE.sub(_parted, _TAG.sub(f"<{_WORD_JOINER}", text))


def answer(text: str) -> str:
    """`text` as the answer to a message, which Luigi's page inserts as HTML."""
    return html.escape(text, quote=False)


def format_duration(seconds: float) -> str:
    """In the two largest units: 8 s, 3 min 20 s, 2 h 13 min, 5 d 4 h."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = {"d": days, "h": hours, "min": minutes, "s": rest}
    units = list(counts)
    largest = next((number for number, unit in enumerate(units) if counts[unit]), len(units) - 1)
    return " ".join(f"{counts[unit]} {unit}" for unit in units[largest : largest + 2] if counts[unit]) or "0 s"


def _parted(found: re.Match[str]) -> str:
    reference = found[0]
    return reference if html.unescape(reference) == reference else f"&{_WORD_JOINER}{reference[1:]}"
