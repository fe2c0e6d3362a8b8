"""Processes of this machine: how the tests find, end and await them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from luigi_sshjob.testing.processes import Process, family, running, wait_for

__all__ = ["Process", "alive", "connected_to", "family", "kill", "running", "send_signal", "wait_until"]


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
    """Whether the process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != b"Z"


def kill(pids: list[int]) -> None:
    """Send SIGKILL to each process and wait for its end."""
    send_signal(pids, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)), f"the end of processes {pids}")


def send_signal(pids: list[int], number: int) -> None:
    """Send a signal to each process that has not ended: the first signal may end the others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait until the condition holds; `TimeoutError` after the given seconds."""
    if not wait_for(condition, seconds):
        raise TimeoutError(f"timed out after {seconds:g} s waiting for {what}")
