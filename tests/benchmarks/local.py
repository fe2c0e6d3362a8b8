"""Measures local processes."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support import processes


def private_memory(pid: int) -> int:
    """Private memory of a process, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def cpu_time(pid: int) -> float:
    ticks = 0
    for member in processes.family(pid):
        fields = Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def used_cpu(usage: resource.struct_rusage) -> float:
    """Processor time in seconds, of programs and of the kernel for them."""
    return usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def discarded_stderr() -> Iterator[None]:
    """Discard what this process and its children write to stderr."""
    saved = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    yield
    os.dup2(saved, 2)
    os.close(saved)


def timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin
