"""`luigi-sshjob logs`: print or follow the log of a job."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator

from luigi_sshjob.cli.find import find_job
from luigi_sshjob.cli.render import strip_escapes
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, JobStatus
from luigi_sshjob.text import TerminalLog

_CHUNK = 1 << 16  # bytes


def run(arguments: argparse.Namespace) -> int:
    """Print the log byte for byte on stdout, and the outcome of a followed job on stderr.

    On a terminal, control characters other than colours are spelled out.
    """
    host, job = find_job(arguments)
    offset = 0 if arguments.tail is None else _tail_offset(host, job, arguments.tail)
    with _open_stdout() as write:
        if not arguments.follow:
            while chunk := host.client.status(job, offset).log:
                write(chunk)
                offset += len(chunk)
            return 0
        outcome = host.monitor().wait(job, lambda status: _show(status, write), offset=offset)
    print(f"{job.id} {strip_escapes(str(outcome))}", file=sys.stderr)
    return 0 if outcome.succeeded else 1


def _show(status: JobStatus, write: Callable[[bytes], None]) -> None:
    if status.truncated:
        print("luigi-sshjob: the command has truncated its log; from its beginning:", file=sys.stderr)
    write(status.log)


@contextlib.contextmanager
def _open_stdout() -> Iterator[Callable[[bytes], None]]:
    if not sys.stdout.isatty():
        yield _write
        return
    log = TerminalLog()

    def write(data: bytes) -> None:
        sys.stdout.write(log.feed(data))
        sys.stdout.flush()

    try:
        yield write
    finally:
        sys.stdout.write(f"{log.feed(b'', final=True)}\x1b[0m")


def _write(log: bytes) -> None:
    sys.stdout.buffer.write(log)
    sys.stdout.buffer.flush()


def _tail_offset(host: HostJobs, job: JobRef, lines: int) -> int:
    """Return the offset in bytes of the last `lines` lines, including an incomplete one.

    Reads backwards from the end, as a log may have any size.
    """
    begin = end = host.listing.details(job).log_bytes
    found = 0
    while begin > 0 and lines:
        stop, begin = begin, max(0, begin - _CHUNK)
        chunk = _read(host, job, begin, stop)
        newline = len(chunk) - (1 if stop == end else 0)
        while (newline := chunk.rfind(b"\n", 0, newline)) >= 0:
            found += 1
            if found == lines:
                return begin + newline + 1
    return begin


def _read(host: HostJobs, job: JobRef, begin: int, end: int) -> bytes:
    data = b""
    while begin + len(data) < end:
        chunk = host.client.status(job, begin + len(data)).log
        if not chunk:
            # the log has been truncated meanwhile
            break
        data += chunk
    return data[: end - begin]
