"""The scripts of the remote side: which of them make a bundle, in which order, and their hashes."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources

from luigi_sshjob.remote.quoting import quote, word

# Sourced or sent in this order: each may use what stands before it.
_SUPERVISOR = (
    *("common/layout.sh", "common/util.sh", "common/identity.sh", "common/processes.sh", "supervisor/retry.sh"),
    *(
        "supervisor/outputs.sh",
        "supervisor/exit_status.sh",
        "supervisor/exit_record.sh",
        "supervisor/supervise.sh",
        "supervisor/slurm_entry.sh",
    ),
)
_AGENT = (
    *("common/layout.sh", "common/util.sh", "common/identity.sh", "common/processes.sh", "server/serve.sh"),
    *("scheduler/submit.sh", "scheduler/poll.sh", "scheduler/state.sh", "scheduler/slurm.sh"),
    *(
        "server/submit.sh",
        "server/state.sh",
        "server/watch.sh",
        "server/collect.sh",
        "server/files.sh",
        "server/list.sh",
    ),
)
_TRANSFER = ("common/identity.sh", "stream.sh")


@cache
def script(name: str) -> str:
    """The text of one file of `remote/`."""
    return resources.files("luigi_sshjob").joinpath("remote").joinpath(*name.split("/")).read_text("utf-8")


@cache
def agent() -> str:
    """The functions that a remote shell loads once, as one text."""
    return "".join(script(name) for name in _AGENT)


def transfer(verb: str, *arguments: str) -> str:
    """A line for a session of its own that calls a function of `transfer.sh`."""
    return " ".join((f"eval {quote(_transfer())};", verb, *map(word, arguments)))


@cache
def _transfer() -> str:
    # each byte of it costs a system call there
    lines = "".join(script(name) for name in _TRANSFER).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


@cache
def supervisor() -> dict[str, str]:
    """The files that are installed on the host, by name."""
    return {name.rpartition("/")[2]: script(name) for name in _SUPERVISOR}


@cache
def supervisor_hash() -> str:
    """Names the installed files by their content, so that two versions never share a file."""
    digest = hashlib.sha256()
    for name, text in supervisor().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:16]


@cache
def agent_hash() -> str:
    """Tells versions of the agent apart."""
    return hashlib.sha256(agent().encode()).hexdigest()[:16]


@cache
def layout() -> dict[str, str]:
    """The names of the files in a job directory, by the variable that `layout.sh` gives each."""
    return dict(re.findall(r"^(SJ_[A-Z_]+)=(\S+)$", script("common/layout.sh"), re.MULTILINE))
