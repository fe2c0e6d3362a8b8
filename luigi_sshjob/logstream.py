"""A job's log, bytes as they come, as lines for a logger: bounded, and never stopped by a byte."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable

_TAIL = 20
_LONGEST_LINE = 2000


class LogStream:
    """Feeds whole lines to `emit`, at most `limit` from one piece, and says how many it left out.

    Bytes that are not UTF-8 are shown as U+FFFD. `tail` keeps the last 20 lines.
    """

    def __init__(self, emit: Callable[[str], None], limit: int):
        self._emit = emit
        self._limit = limit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""
        self.tail: deque[str] = deque(maxlen=_TAIL)

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
        if rest:
            self._show([rest])

    def _show(self, lines: list[str]) -> None:
        # a progress bar overwrites its line with carriage returns: the last state is the line
        shown = [line.rstrip("\r").rpartition("\r")[2][:_LONGEST_LINE] for line in lines]
        self.tail.extend(shown[-_TAIL:])
        left_out = len(shown) - self._limit
        if left_out > 0:
            self._emit(f"({left_out} lines left out here; the log on the host has them all)")
            shown = shown[left_out:]
        for line in shown:
            self._emit(line)
