"""The floor: the same jobs through one ssh session, started and told of by nothing but a shell; no safety at all."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from benchmarks.local import used_cpu
from support.hosts import Host


@dataclass
class Floor:
    """Seconds from the login to the end of the last job, and processor time of the ssh client."""

    wall: float
    local_cpu: float


def run_floor(host: Host, folder: str, jobs: int, seconds: int = 9) -> Floor:
    """Start the jobs of `Sleeper`, each in a session of its own, and wait for a line from each."""
    script = "".join(
        f"{{ setsid sh -c 'cd {folder} && echo {number} >>ledger && sleep {seconds}'; echo ended; }} &\necho started\n"
        for number in range(jobs)
    )
    begin = time.monotonic()
    process = subprocess.Popen(
        ["ssh", "-F", host.ssh_config, host.alias, "sh -s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(script)
    process.stdin.flush()
    ended = 0
    while ended < jobs:
        line = process.stdout.readline()
        if line == "ended\n":
            ended += 1
        elif line != "started\n":
            raise RuntimeError(f"unexpected output of the floor program: {line!r}")
    wall = time.monotonic() - begin
    process.stdin.close()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    process.stdout.close()
    return Floor(wall, used_cpu(usage))
