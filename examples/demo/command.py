"""A command of the demonstration."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import IO

from place import Place


class Command:
    """A running command. On leaving the `with` block it is ended with all its processes, at once."""

    def __init__(self, place: Place, argv: list[str], output: IO[bytes] | None = None, errors: IO[bytes] | None = None):
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=place.environment,
            # Ctrl-C at the terminal is for the demonstration, which then ends this
            start_new_session=True,
        )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process id and process group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Its exit status; None if it is running."""
        return self._process.poll()

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it with all its processes, at once, if it is running."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
