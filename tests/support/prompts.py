"""A program with a terminal of its own, at whose prompts a test types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from collections.abc import Sequence


class Prompts:
    """Runs `argv` with a terminal that nobody else reads. Use it as a context manager."""

    def __init__(self, argv: Sequence[str]):
        self.text = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            try:
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)

    def __enter__(self) -> Prompts:
        return self

    def __exit__(self, *_: object) -> None:
        # the program gets a SIGHUP, if it still runs
        os.close(self._terminal)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def expect(self, text: str, seconds: float = 30) -> str:
        """Read until the output since the last call contains the text; return what is before it."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} is not in what was printed: {self.text!r}")
        before, _, self.text = self.text.partition(text)
        return before

    def type(self, line: str) -> None:
        os.write(self._terminal, f"{line}\n".encode())

    def finish(self, seconds: float = 30) -> int:
        """Read until the end of the program; return its exit status."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"nothing more was printed after: {self.text!r}")
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError:  # Linux reports the end of the terminal's last program so
            return False
        self.text += data.decode(errors="replace")
        return bool(data)
