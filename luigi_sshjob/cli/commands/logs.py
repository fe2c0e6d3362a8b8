"""`luigi-sshjob logs`"""

from __future__ import annotations

import argparse
import sys

from luigi_sshjob.cli.hosts import find
from luigi_sshjob.cli.render import plain
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef

_PIECE = 1 << 16  # bytes


def run(arguments: argparse.Namespace) -> int:
    """The bytes on standard output as the job wrote them; how it ended on standard error."""
    ((site, job),) = find(arguments, [arguments.job])
    offset = 0 if arguments.tail is None else _beginning(site, job, arguments.tail)
    if arguments.follow:
        outcome = site.monitor().wait(job, lambda observation: _write(observation.log), offset=offset)
        print(f"{job.id} {plain(str(outcome))}", file=sys.stderr)
        return 0 if outcome.succeeded else 1
    while piece := site.client.status(job, offset).log:
        _write(piece)
        offset += len(piece)
    return 0


def _write(log: bytes) -> None:
    sys.stdout.buffer.write(log)
    sys.stdout.buffer.flush()


def _beginning(site: HostJobs, job: JobRef, lines: int) -> int:
    """Where in the log its last so many lines begin; one that has no end yet counts. Read from the end backwards, as a
    log may be of any size."""
    begin = end = site.listing.details(job).log_bytes
    found = 0
    while begin > 0 and lines:
        stop, begin = begin, max(0, begin - _PIECE)
        piece = _read(site, job, begin, stop)
        place = len(piece) - (1 if stop == end else 0)
        while (place := piece.rfind(b"\n", 0, place)) >= 0:
            found += 1
            if found == lines:
                return begin + place + 1
    return begin


def _read(site: HostJobs, job: JobRef, begin: int, end: int) -> bytes:
    found = b""
    while begin + len(found) < end:
        piece = site.client.status(job, begin + len(found)).log
        if not piece:
            # somebody has made the log shorter
            break
        found += piece
    return found[: end - begin]
