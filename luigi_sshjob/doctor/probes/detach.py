"""Tests whether a detached process outlives the connection that started it, with a login of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import time

from luigi_sshjob.doctor.facts import Survival, first_value
from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.remote import quoting, scripts
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, deadline_in, request_text
from luigi_sshjob.ssh.transports.base import DiagnosableTransport

# a login manager kills the remaining processes of a session immediately
_WATCH_TIME = 1.5  # seconds
_LIFETIME = 300  # seconds, see doctor_detach


@dataclasses.dataclass(frozen=True)
class DetachedProcess:
    """A process on the host, watched over another connection; or the problem that prevented it."""

    server: str = ""
    """Arguments of doctor_watch that identify the sshd of the connection that started it."""
    since: float = 0.0
    problem: str = ""


def open_shell(transport: DiagnosableTransport) -> RemoteShell:
    """Open a shell with the functions of doctor.sh. Raises `ConnectionFailed`."""
    deadline = deadline_in(transport.settings.request_timeout)
    shell = RemoteShell(transport, deadline=deadline)
    try:
        shell.session.write(quoting.encode(scripts.script("server/doctor.sh")), deadline=deadline)
    except BaseException:
        shell.close()
        raise
    return shell


def start_detached(transport: DiagnosableTransport, watcher: RemoteShell) -> DetachedProcess:
    """Log in once more, start a process that ends on its own after a while, and close that connection."""
    try:
        with transport.private_copy() as other:
            other.connect_verbose()
            process = _start(other, watcher, transport.settings.request_timeout)
    except SSHJobError as error:
        return DetachedProcess(problem=error.problem)
    return dataclasses.replace(process, since=time.monotonic())


def _start(other: DiagnosableTransport, watcher: RemoteShell, timeout: float) -> DetachedProcess:
    with contextlib.closing(open_shell(other)) as starter:
        parts = starter.call("doctor_detach", deadline=deadline_in(timeout)).parts
        _, pid, start = (*first_value(parts, "detached").split(" ", 2), "", "", "")[:3]
        server, server_start = (*first_value(parts, "server").split(" ", 1), "", "")[:2]
        if watcher.call(request_text("doctor_adopt", pid, start), deadline=deadline_in(timeout)).status != 0:
            return DetachedProcess(problem="the second login reached a machine whose processes the first cannot see")
        # until here it would have ended with its own shell, also if that is interrupted
        if starter.call("doctor_release", deadline=deadline_in(timeout)).status != 0:
            return DetachedProcess(problem="the shell that started it has responded with an error")
        return DetachedProcess(server=request_text("", server, server_start))


def check_survival(process: DetachedProcess, watcher: RemoteShell, timeout: float) -> Survival:
    """Check the process some time after its connection was closed. Raises `ConnectionLost`."""
    if process.problem:
        return Survival(None, problem=process.problem)
    passed = time.monotonic() - process.since
    if passed > _LIFETIME / 2:
        return Survival(None, problem="the other checks took too long")
    request = f"doctor_watch{process.server} {round(max(0.1, _WATCH_TIME - passed) * 10)}"
    parts = watcher.call(request, deadline=deadline_in(timeout + 10)).parts
    if first_value(parts, "open"):
        return Survival(None, problem="the host kept that connection open")
    return Survival(first_value(parts, "survived") == "yes", seconds=time.monotonic() - process.since)
