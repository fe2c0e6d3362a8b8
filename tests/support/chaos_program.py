"""The command line of a program that runs jobs with random faults."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections.abc import Callable
from typing import Protocol


class RandomFaults(Protocol):
    """One run."""

    findings: list[str]

    def run(self, seconds: float) -> None:
        """Run rounds of jobs with faults for some seconds, then check the results."""

    def report(self) -> list[str]:
        """What it has done, in lines for people."""

    def close(self) -> None:
        """Remove the host, all processes and files."""


def run_program(name: str, description: str, make: Callable[[int, int], RandomFaults], jobs: int) -> int:
    """Run it as the arguments say, and return the exit status: 1 with findings. `make` takes the seed and the jobs."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long rounds of jobs with faults are started")
    parser.add_argument("--jobs", type=int, default=jobs, help="jobs of a round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"{name}: seed {arguments.seed}, {arguments.seconds:g} s, {arguments.jobs} jobs a round", flush=True)
    chaos = make(arguments.seed, arguments.jobs)
    # remove the host also after SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        chaos.run(arguments.seconds)
        lines = chaos.report()
    finally:
        chaos.close()
    for line in [*lines, *(f"{name}: {finding}" for finding in chaos.findings)]:
        print(line)
    return 1 if chaos.findings else 0
