"""Whether a detached process outlives the connection that it was started from: tried, with a login of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from luigi_sshjob.doctor.facts import Survival, first
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, deadline_in, request_text
from luigi_sshjob.ssh.transports.base import DiagnosableTransport

# a login manager that ends what a session has left does so at once
_WATCHED = 1.5  # seconds
_LIVES = 300  # seconds, see doctor_detach


@dataclasses.dataclass(frozen=True)
class Detached:
    """A process on the host, watched from another connection; or why there is none."""

    server: str = ""
    """The words that tell the sshd of the connection it was started from."""
    since: float = 0.0
    problem: str = ""


def open_shell(transport: DiagnosableTransport) -> RemoteShell:
    """A shell with the functions of doctor.sh. Raises `ConnectionFailed`."""
    deadline = deadline_in(transport.settings.request_timeout)
    opened = RemoteShell(transport, deadline=deadline)
    try:
        opened.session.write(quoting.encode(scripts.script("server/doctor.sh")), deadline=deadline)
    except BaseException:
        opened.close()
        raise
    return opened


def detach(transport: DiagnosableTransport, watcher: RemoteShell) -> Detached:
    """One more login, from which a process is started that ends by itself; then that connection is ended."""
    try:
        with transport.private_copy() as other:
            other.connect_verbose()
            detached = _started(other, watcher, transport.settings.request_timeout)
    except SSHJobError as error:
        return Detached(problem=error.problem)
    return dataclasses.replace(detached, since=time.monotonic())


def _started(other: DiagnosableTransport, watcher: RemoteShell, timeout: float) -> Detached:
    with contextlib.closing(open_shell(other)) as starter:
        parts = starter.call("doctor_detach", deadline=deadline_in(timeout)).parts
        _, pid, start = (*first(parts, "detached").split(" ", 2), "", "", "")[:3]
        server, server_start = (*first(parts, "server").split(" ", 1), "", "")[:2]
        if watcher.call(request_text("doctor_adopt", pid, start), deadline=deadline_in(timeout)).status != 0:
            return Detached(problem="the second login reached a machine on which the first cannot see its processes")
        return Detached(server=request_text("", server, server_start))


def watch(detached: Detached, watcher: RemoteShell, timeout: float) -> Survival:
    """How it is, some time after the end of its connection. Raises `ConnectionLost`."""
    if detached.problem:
        return Survival(None, problem=detached.problem)
    passed = time.monotonic() - detached.since
    if passed > _LIVES / 2:
        return Survival(None, problem="the other checks took too long")
    text = f"doctor_watch{detached.server} {round(max(0.1, _WATCHED - passed) * 10)}"
    parts = watcher.call(text, deadline=deadline_in(timeout + 10)).parts
    if first(parts, "open"):
        return Survival(None, problem="the host kept that connection open")
    return Survival(first(parts, "survived") == "yes", seconds=time.monotonic() - detached.since)
