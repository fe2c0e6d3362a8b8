"""A job's log, bytes as they come, as lines for a logger: bounded, and never stopped by a byte."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable

_TAIL = 20
_LONGEST_LINE = 2000
_WINDOW = 60.0  # seconds


def last_state(line: str) -> str:
    """A line as a terminal shows it in the end: a progress bar overwrites its own with carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2][:_LONGEST_LINE]


class LogLines:
    """Feeds whole lines to `emit`, at most `limit` in a minute; then says how many it left out, and `where` all are.

    Of a piece that is too long the last lines are shown. Bytes that are not UTF-8 are shown as U+FFFD. `tail` keeps
    the last 20 lines.
    """

    def __init__(
        self, emit: Callable[[str], None], limit: int, where: str, clock: Callable[[], float] = time.monotonic
    ):
        self._emit = emit
        self._limit = limit
        self._where = where
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self._window = clock()
        self._shown = self._left_out = 0
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def last(self, count: int) -> tuple[str, ...]:
        """So many lines, up to 20, at the end of what was fed, also one that is not whole yet."""
        return (*self.tail, *([last_state(self._partial)] if self._partial else []))[-count:]

    def feed(self, data: bytes) -> None:
        """The next bytes of the log; a line that is not whole yet is kept for the next piece."""
        lines = (self._partial + self._decoder.decode(data)).split("\n")
        self._partial = lines.pop()
        if len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial)
            self._partial = ""
        self._show(lines)

    def finish(self) -> None:
        """There is no more: a last line without its newline is a line too."""
        rest = self._partial + self._decoder.decode(b"", final=True)
        self._partial = ""
        self._show([rest] if rest else [])
        self._say_left_out()

    def _show(self, lines: list[str]) -> None:
        if self._clock() - self._window >= _WINDOW:
            self._window, self._shown = self._clock(), 0
        lines = [last_state(line) for line in lines]
        self.tail.extend(lines[-_TAIL:])
        room = self._limit - self._shown
        shown = lines[-room:] if room > 0 else []
        self._left_out += len(lines) - len(shown)
        self._shown += len(shown)
        if shown:
            self._say_left_out()
        for line in shown:
            self._emit(line)

    def _say_left_out(self) -> None:
        if self._left_out:
            self._emit(f"({self._left_out} lines left out here; {self._where})")
            self._left_out = 0
