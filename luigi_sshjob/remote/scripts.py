"""Bundles of the shell scripts that run on a host."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from luigi_sshjob.remote.quoting import SHELL, quote, word

_COMMON = (
    "common/start.sh",
    "common/layout.sh",
    "common/util.sh",
    "common/identity.sh",
    "common/hardware.sh",
    "common/processes.sh",
    "common/slots.sh",
    "common/cgroup.sh",
)

# In the order in which they are loaded.
_SERVER = (
    *_COMMON,
    *("common/paths.sh", "server/serve.sh", "server/directories.sh", "server/within.sh"),
    *("server/limited.sh", "server/bounded.sh"),
    *("scheduler/commands.sh", "scheduler/submit.sh", "scheduler/state.sh"),
    *(
        "server/install.sh",
        "server/cache.sh",
        "server/submit.sh",
        "server/submit_many.sh",
        "server/launch.sh",
        "server/liveness.sh",
        "server/state.sh",
        "server/cancel.sh",
        "server/news.sh",
        "server/watched_job.sh",
        "server/watch.sh",
        "server/collect.sh",
        "server/discard.sh",
        "server/files.sh",
        "server/list.sh",
        "server/slots.sh",
        "server/pool.sh",
    ),
)
# The main program comes last.
_SUPERVISOR = (
    *_COMMON,
    "common/paths.sh",
    *("supervisor/retry.sh", "supervisor/claim.sh", "supervisor/signals.sh", "supervisor/limits.sh"),
    *("supervisor/inputs.sh", "supervisor/outputs.sh", "supervisor/setup.sh"),
    *("supervisor/slot_queue.sh", "supervisor/slots.sh", "supervisor/gentle.sh"),
    *("supervisor/exit_status.sh", "supervisor/exit_record.sh", "supervisor/supervise.sh"),
)
_STREAM = ("common/start.sh", "common/identity.sh", "common/paths.sh", "stream.sh")


@cache
def script(name: str) -> str:
    """Return the text of one file of `remote/`."""
    return resources.files("luigi_sshjob").joinpath("remote").joinpath(*name.split("/")).read_text("utf-8")


@cache
def server() -> str:
    """Return the functions that a remote shell loads once, and what it must find installed, as one text."""
    return "".join([*map(script, _SERVER), _manifest()])


def _manifest() -> str:
    """Names, checksums and sizes of the supervisor's files, see `has_scripts` in server/directories.sh."""
    # each is written with a newline after its end
    data = {name: f"{text}\n".encode() for name, text in supervisor().items()}
    values = {
        "LIBRARY": supervisor_hash(),
        "SCRIPTS": " ".join(data),
        "SHA256": "".join(f"{hashlib.sha256(content).hexdigest()} {name} " for name, content in data.items()),
        "SIZES": "".join(f"{len(content)} {name} " for name, content in data.items()),
    }
    return "".join(f"SJ_{name}={quote(value)}\n" for name, value in values.items())


def server_command() -> str:
    """Return the line of a session that reads the server's text from its standard input."""
    return f"exec {SHELL} -s"


@cache
def server_hash() -> str:
    """Return a hash of the server's text; processes share a leader only if it is the same."""
    return hashlib.sha256(server().encode()).hexdigest()[:16]


@cache
def supervisor() -> dict[str, str]:
    """Return the files that are installed on the host, by their names there."""
    return {
        "supervise.sh": f"#!/bin/sh\n{_compact(_SUPERVISOR)}",
        "scheduler_entry.sh": script("supervisor/scheduler_entry.sh"),
        "run_setup.sh": script("supervisor/run_setup.sh"),
        "run_work.py": script("run_work.py"),
    }


@cache
def supervisor_hash() -> str:
    """Return a hash of the installed files; it names their directory, so that versions never share a file."""
    digest = hashlib.sha256()
    for name, text in supervisor().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:16]


def stream_command(function: str, *arguments: str) -> str:
    """Return a line that calls a function of `stream.sh` in a session of its own."""
    return " ".join((f"exec {SHELL} -c {quote(_stream())} sh", function, *map(word, arguments)))


@cache
def _stream() -> str:
    return f'{_compact(_STREAM)}\n"$@"'


def _compact(names: Sequence[str]) -> str:
    # without comments and indentation, which each start of a shell would read again, some byte by byte
    lines = "".join(map(script, names)).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


@cache
def layout() -> dict[str, str]:
    """Return the names of the files in a job directory, by the variables of `layout.sh`."""
    return dict(re.findall(r"^(SJ_[A-Z_]+)=(\S+)$", script("common/layout.sh"), re.MULTILINE))
