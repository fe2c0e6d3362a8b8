"""Processes of this machine, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process, and what it was started with."""

    pid: int
    parent: int
    args: str
    environ: bytes

    def names(self, text: str) -> bool:
        """Whether its arguments or its initial environment contain the text."""
        return text in self.args or os.fsencode(text) in self.environ


def running() -> Iterator[Process]:
    """Yield all processes except zombies. The environment is empty if it is not readable."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may contain spaces and parentheses.
            state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            args = os.fsdecode((folder / "cmdline").read_bytes().replace(b"\0", b" ").strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
        try:
            environ = (folder / "environ").read_bytes()
        except OSError:
            environ = b""
        if state != b"Z":
            yield Process(int(folder.name), int(parent), args, environ)


def family(*pids: int) -> list[Process]:
    """Return the processes and all their descendants."""
    everyone = list(running())
    members = [process for process in everyone if process.pid in pids]
    for member in members:
        members += [each for each in everyone if each.parent == member.pid and each not in members]
    return members


def kill_all(find: Callable[[], Iterable[Process]], seconds: float = 20) -> None:
    """Kill what `find` returns, with all descendants, until it returns nothing: a process may start another one.

    Gives up after these seconds, because nothing ends a process that waits for a dead mount.
    """

    def found_none() -> bool:
        members = family(*(process.pid for process in find()))
        for process in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not members

    wait_for(found_none, seconds)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until the condition holds; False if it does not within these seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
