"""The process that has the throwaway host: `python host_process.py FILE`.

It prints a line of JSON when the host runs, and removes the host when its standard input ends, so also if the process
that started it is killed. After the line "keep" it keeps the host until SIGTERM; FILE has its pid and is locked then.
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


def main(record: Path) -> int:
    """Have a host until it is no longer needed."""
    stop = Stop()
    try:
        # outside, so that the record is locked until the host is removed
        with contextlib.ExitStack() as kept, throwaway_host() as host:
            reply(folder=str(host.home.parent), settings=dict(get_config().items("sshjob")))
            if not wait_and_keep(stop, record, kept):
                end_commands(host.home.parent)
    except (OSError, SSHJobError) as error:
        reply(error=str(error))
        return 1
    return 0


def wait_and_keep(stop: Stop, record: Path, kept: contextlib.ExitStack) -> bool:
    """Wait until the host is no longer needed; return whether it was kept."""
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


def end_commands(folder: Path) -> None:
    """End commands of the demonstration, which run on if it was killed."""
    mark = os.fsencode(f"LUIGI_CONFIG_PATH={folder}/")
    kill_all(lambda: [process for process in running() if mark in process.environ])


def reply(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
