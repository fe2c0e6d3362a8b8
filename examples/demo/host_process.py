"""The process that has the throwaway hosts: `python host_process.py FILE COUNT`.

It prints a line of JSON when they run, and removes them when its standard input ends, so also if the process that
started it is killed. After the line "keep" it keeps them until SIGTERM; FILE has its pid and is locked then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from luigi.configuration import get_config

from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.testing import throwaway_host
from luigi_sshjob.testing.processes import kill_all, running


class Stop:
    """Becomes readable when a signal that ends this process has arrived."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()
        for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: os.write(self._writable, b"."))

    def fileno(self) -> int:
        return self._readable


def main(record: Path, count: int) -> int:
    """Have the hosts until they are no longer needed."""
    stop = Stop()
    try:
        # outside, so that the record is locked until the hosts are removed
        with contextlib.ExitStack() as kept, contextlib.ExitStack() as stack:
            hosts = [start(stack) for _ in range(count)]
            reply(hosts=hosts)
            if not wait_and_keep(stop, record, kept):
                end_commands(hosts[0]["folder"])
    except (OSError, SSHJobError) as error:
        reply(error=str(error))
        return 1
    return 0


def start(stack: contextlib.ExitStack) -> dict[str, Any]:
    """Start a host; return its folder and the settings that lead to it."""
    host = stack.enter_context(throwaway_host())
    return {"folder": str(host.home.parent), "settings": dict(get_config().items("sshjob"))}


def wait_and_keep(stop: Stop, record: Path, kept: contextlib.ExitStack) -> bool:
    """Wait until the hosts are no longer needed; return whether they were kept."""
    ready, _, _ = select.select([sys.stdin, stop], [], [])
    if stop in ready or sys.stdin.readline() != "keep\n":
        return False
    file = kept.enter_context(record.open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        reply(error="another host is kept already")
        return False
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    reply(kept=True)
    # a caller that reads to the end of its pipe would wait for this process
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 2)
    select.select([stop], [], [])
    return True


def end_commands(folder: str) -> None:
    """End commands of the demonstration, which run on if it was killed."""
    mark = os.fsencode(f"LUIGI_CONFIG_PATH={folder}/")
    kill_all(lambda: [process for process in running() if mark in process.environ])


def reply(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
