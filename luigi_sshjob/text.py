"""Formats log lines, durations and messages for people, safely for luigid's page, which inserts them as HTML."""

from __future__ import annotations

import codecs
import html
import re

# control sequences of ECMA-48 such as colours, without those that may contain quotes: a command is to stay quoted
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[@-~]|\([0AB])")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_PART_OF_COLOUR = re.compile(r"\x1b(?:\[[0-9;:]{0,40})?$")
# other control characters, surrogates, Unicode line separators, and characters that change the direction of text
_HIDDEN = "\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_INVISIBLE = re.compile(f"[{_HIDDEN}]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_REFERENCE = re.compile(r"&[^\s<&;]{1,32};?")
_WORD_JOINER = "\u2060"


def visible(text: str) -> str:
    """Removes colours and spells out all other control characters but tabs and line breaks.

    For text that may come from a host: it can neither act on a terminal nor look like other text.
    """
    # ssh and many programs end lines with both
    return text if text.isprintable() else _INVISIBLE.sub(_spell_out, _SEQUENCE.sub("", text.replace("\r\n", "\n")))


def json_text(text: str) -> str:
    """The same JSON, with control characters and lone surrogates escaped."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class TerminalLog:
    """Decodes the bytes of a log for a terminal, which is to show colours and carriage returns, and do nothing else."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The text of the next bytes; an incomplete colour is held until the next call."""
        text = self._held + self._decoder.decode(data, final)
        part = None if final else _PART_OF_COLOUR.search(text)
        text, self._held = (text[: part.start()], text[part.start() :]) if part else (text, "")
        shown, end = [], 0
        for colour in _COLOUR.finditer(text):
            shown += [self._spell_out(text[end : colour.start()]), colour[0]]
            end = colour.end()
        return "".join([*shown, self._spell_out(text[end:])])

    @staticmethod
    def _spell_out(text: str) -> str:
        return _INVISIBLE.sub(lambda match: match[0] if match[0] == "\r" else _spell_out(match), text)


def one_line(text: str) -> str:
    """As `visible`, with line breaks spelled out."""
    return visible(text).replace("\n", "\\n")


def printable_line(line: str, width: int) -> str:
    """As `one_line`, cut after `width` characters."""
    line = one_line(line)
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


def _spell_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _break_reference(match: re.Match[str]) -> str:
    reference = match[0]
    return reference if html.unescape(reference) == reference else f"&{_WORD_JOINER}{reference[1:]}"
