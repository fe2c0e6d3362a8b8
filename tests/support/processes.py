"""Processes of this machine, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
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


def family(pid: int) -> list[Process]:
    """Return the process and all its descendants."""
    everyone = list(running())
    members = [process for process in everyone if process.pid == pid]
    for member in members:
        members += [process for process in everyone if process.parent == member.pid]
    return members


def connected_to(port: int) -> set[int]:
    """Return the pids of the processes with a TCP connection to the port."""
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == port and fields[3] == "01":
            sockets.add(f"socket:[{fields[9]}]")
    found = set()
    for process in running():
        try:
            links = {os.readlink(fd) for fd in Path(f"/proc/{process.pid}/fd").iterdir()}
        except OSError:
            continue
        if links & sockets:
            found.add(process.pid)
    return found


def alive(pid: int) -> bool:
    return any(process.pid == pid for process in running())


def kill(pids: list[int]) -> None:
    """Send SIGKILL to each process and wait for its end."""
    send_signal(pids, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)), f"the end of processes {pids}")


def send_signal(pids: list[int], number: int) -> None:
    """Send a signal to each process that has not ended: the first signal may end the others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait until the condition holds; `TimeoutError` after the given seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"timed out after {seconds:g} s waiting for {what}")
        time.sleep(0.02)
