"""Turns the bytes of a job's log into a bounded number of lines for a logger."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable

from luigi_sshjob.text import visible

_TAIL = 20
_LONGEST_LINE = 2000
_WINDOW = 60.0  # seconds


def final_text(line: str) -> str:
    """A line as a terminal shows it in the end, because a progress bar overwrites its line with carriage returns.

    Control characters are spelled out.
    """
    return visible(line.rstrip("\r").rpartition("\r")[2])[:_LONGEST_LINE]


class LogLines:
    """Passes whole lines to `emit`, at most `limit` a minute, and then how many it left out, with the `hint`.

    It shows the last lines of a piece that has too many, and U+FFFD for bytes that are not UTF-8. `tail` keeps the last
    20 lines.
    """

    def __init__(self, emit: Callable[[str], None], limit: int, hint: str, clock: Callable[[], float] = time.monotonic):
        self._emit = emit
        self._limit = limit
        self._hint = hint
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._window = clock()
        self._shown = self._left_out = 0
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def last(self, count: int) -> tuple[str, ...]:
        """The last `count` lines, up to 20, including a line that is not complete yet."""
        return (*self.tail, *([final_text(self._partial)] if self._partial else []))[-count:]

    def feed(self, data: bytes) -> None:
        """Process the next bytes of the log; an incomplete line is kept for the next piece."""
        lines = (self._partial + self._decoder.decode(data)).split("\n")
        self._partial = lines.pop()
        if len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial)
            self._partial = ""
        self._show(lines)

    def restart(self, note: str) -> None:
        """Show the note, because the next bytes do not follow on from the last ones."""
        self.finish()
        self._decoder.reset()
        self._emit(note)

    def finish(self) -> None:
        """Show the last line even if it has no newline, because no more bytes will follow."""
        rest = self._partial + self._decoder.decode(b"", final=True)
        self._partial = ""
        self._show([rest] if rest else [])
        self._report_left_out()

    def _show(self, lines: list[str]) -> None:
        if self._clock() - self._window >= _WINDOW:
            self._window, self._shown = self._clock(), 0
        lines = [final_text(line) for line in lines]
        self.tail.extend(lines[-_TAIL:])
        remaining = self._limit - self._shown
        shown = lines[-remaining:] if remaining > 0 else []
        self._left_out += len(lines) - len(shown)
        self._shown += len(shown)
        if shown:
            self._report_left_out()
        for line in shown:
            self._emit(line)

    def _report_left_out(self) -> None:
        if self._left_out:
            self._emit(f"({self._left_out} lines left out here; {self._hint})")
            self._left_out = 0
