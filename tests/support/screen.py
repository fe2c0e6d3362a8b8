"""A command in a terminal, and what a person sees there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from typing import Any

import pyte

from support import processes


class Screen:
    """Runs a program in a terminal of this size; ends it on leaving the `with` block."""

    def __init__(self, *argv: str, columns: int = 80, rows: int = 24, environment: Mapping[str, str] | None = None):
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self._terminal, process_side = pty.openpty()
        fcntl.ioctl(process_side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            argv,
            stdin=process_side,
            stdout=process_side,
            stderr=process_side,
            env={**inherited, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
            # a shell controls jobs only on a terminal of its own session
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(process_side)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    def lines(self) -> list[str]:
        """The lines that the terminal shows now, without trailing blanks."""
        while select.select([self._terminal], [], [], 0)[0]:
            try:
                self._stream.feed(os.read(self._terminal, 1 << 16))
            except OSError:  # Linux, after the last process has closed its side
                break
        return [line.rstrip() for line in self._screen.display]

    def final(self) -> list[str]:
        """The lines above the cursor when the command has ended."""
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            # the command would block if nobody read what it writes
            self.lines()
            time.sleep(0.01)
        assert self.process.poll() is not None, self.lines()
        return self.lines()[: self._screen.cursor.y]

    def wait_for(self, text: str) -> list[str]:
        """The lines as soon as one has the text."""
        processes.wait_until(lambda: any(text in line for line in self.lines()), text)
        return self.lines()

    @classmethod
    def of(cls, *words: str, **options: Any) -> Screen:
        """`luigi-sshjob` with these words."""
        return cls(sys.executable, "-m", "luigi_sshjob", *words, **options)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)
