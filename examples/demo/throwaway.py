"""The throwaway hosts of the demonstration, in a process of their own, and those that `--keep` has left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from interrupts import check, wait_until

_FOLDER = Path(__file__).resolve().parent
_RECORD = _FOLDER.parent / ".kept-host"
_SECONDS = 60  # for the hosts to end; a machine may be slow


class NoHost(Exception):
    """The hosts could not be started, kept or removed."""


@dataclass(frozen=True)
class Host:
    """A throwaway host: its files, and the settings that lead to it."""

    folder: Path
    settings: Mapping[str, str]

    def accepted_logins(self) -> int:
        """Return how many logins its sshd has accepted."""
        log = (self.folder / "sshd.log").read_text(errors="replace")
        return sum(line.startswith("Accepted publickey for ") for line in log.splitlines())


class ThrowawayHosts:
    """Hosts that exist while the `with` block runs, or longer, see `keep`."""

    def __init__(self, environment: dict[str, str], count: int):
        self._environment = environment
        self._count = count
        self._kept = False

    def __enter__(self) -> ThrowawayHosts:
        self._process = subprocess.Popen(
            [sys.executable, _FOLDER / "host_process.py", _RECORD, str(self._count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            # Luigi reads the luigi.cfg of the current directory
            cwd="/",
            # Ctrl-C at the terminal is for this process, which then removes the hosts
            start_new_session=True,
        )
        try:
            started = self._reply()
            check()
        except BaseException:
            self._end()
            # Ctrl-C at the terminal may have ended that process before it had its own session
            check()
            raise
        self.all = [Host(Path(host["folder"]), host["settings"]) for host in started["hosts"]]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._kept:
            self._end()

    def keep(self) -> None:
        """Leave the hosts running when the block ends."""
        assert self._process.stdin
        self._process.stdin.write("keep\n")
        self._process.stdin.flush()
        self._reply()
        self._kept = True

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        reply: dict[str, Any] = json.loads(line or '{"error": "the process of the hosts has ended"}')
        if "error" in reply:
            raise NoHost(reply["error"])
        return reply

    def _end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise NoHost(f"not removed within {_SECONDS} s: the process of the hosts, {self._process.pid}") from None


def is_kept() -> bool:
    """Whether hosts that `--keep` has left are running."""
    try:
        with _RECORD.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def stop_kept() -> None:
    """Remove the hosts that `--keep` has left."""
    # it may be ending
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(_RECORD.read_text()), signal.SIGTERM)
    if not wait_until(lambda: not is_kept(), _SECONDS):
        raise NoHost(f"what was kept was not removed within {_SECONDS} s")
