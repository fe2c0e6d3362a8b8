"""The ControlMaster behind a context."""

from __future__ import annotations

import re
import subprocess

import processes

from luigi_sshjob import RemoteContext


def master_pid(context: RemoteContext) -> int:
    """Of the process; fails where there is none."""
    check = [*context.connection.transport.master.ssh_argv(), "-O", "check", "x"]
    said = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"pid=(\d+)", said)[1])


def kill_master(context: RemoteContext) -> None:
    """The connection breaks, without a word to anybody."""
    processes.kill([master_pid(context)])
