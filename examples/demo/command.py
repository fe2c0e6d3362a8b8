"""A command of the demonstration, as it runs and as a person types it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from typing import IO

from place import Place

_WIDTH = 75  # columns


class Command:
    """A running command. On leaving the `with` block it is ended with all its processes, at once."""

    def __init__(self, place: Place, argv: list[str], output: IO[bytes] | None = None, errors: IO[bytes] | None = None):
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=place.environment,
            cwd=place.directory,
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


def typed(command: list[str]) -> str:
    """The command as a person types it, on several lines if it is long."""
    # an option and its value stay together
    pieces = re.split(r" (?=--\w)", shlex.join(command))
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(f"{lines[-1]} {piece}") > _WIDTH:
            lines.append(piece)
        else:
            lines[-1] += f" {piece}"
    return " \\\n       ".join(lines)
