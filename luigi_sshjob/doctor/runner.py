"""Asks the host, one thing after the other, and has what was seen judged.

Two logins at most: that of the shared connection, where there is none yet, and one to see what becomes of processes
when a connection ends. Nothing stays on the host.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator

from luigi_sshjob.doctor import facts, recommendations
from luigi_sshjob.doctor.checks import login, storage, system
from luigi_sshjob.doctor.checks import session as session_module
from luigi_sshjob.doctor.facts import Account, DirectoryFacts, Facts, Latency, Lookup, Opening
from luigi_sshjob.doctor.probes.detach import detach, open_shell, watch
from luigi_sshjob.doctor.probes.session_limit import count_sessions
from luigi_sshjob.doctor.report import CheckResult, Report, Status
from luigi_sshjob.errors import RemoteCommandFailed, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, deadline_in, request_text
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.base import DiagnosableTransport
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route
from luigi_sshjob.targets.context import RemoteContext

_LOOKS = 5  # round trips that are timed
_SLURM = 60.0  # seconds it is given in all
_FEWEST, _MOST = 12, 40  # sessions that are tried; sshd allows 10 unless told otherwise


def examine(
    context: RemoteContext, base_dir: str | None = None, said: Callable[[str], None] = lambda _: None
) -> Report:
    """The whole examination. `said` is told what is being done; raises nothing for a host that does not answer."""
    host = str(context.destination)
    findings: list[CheckResult] = []
    route = None
    try:
        said("looking up the name")
        transport = context.connection.transport
        of_the_user = transport.settings.existing_master == "require"
        route = transport.route()
        lookup = None if route.through else _look_up(route)
        findings.append(login.judge_name(route, lookup))
        said("logging in")
        arrival = transport.connect_verbose()
    except SSHJobError as error:
        failed = login.judge_failed_login(error, route)
        # what ssh says of the name counts more than what we found
        findings = [finding for finding in findings if finding.check != failed[-1].check]
        return Report(host, (*findings, *failed, _unasked("there was no login")), answered=False)
    findings = [
        login.judge_name(route, lookup, reached=True),
        login.judge_login(route, arrival, of_the_user=of_the_user),
        login.judge_host_key(arrival),
    ]
    try:
        base_dir = base_dir or transport.settings.base_dir
        seen = _look(transport, route, arrival, base_dir, said)
    except SSHJobError as error:
        no_session = CheckResult("session", Status.FAIL, error.problem, error.next_step)
        return Report(host, (*findings, no_session, _unasked("the host did not answer")), answered=False)
    findings += _judged(seen, transport, base_dir)
    settings = transport.settings
    advised = recommendations.advise(
        seen,
        max_sessions=settings.max_sessions,
        connect_timeout=transport.destination.connect_timeout or settings.connect_timeout,
        request_timeout=settings.request_timeout,
        launcher=settings.launcher,
    )
    return Report(host, tuple(findings), tuple(advised))


def _look_up(route: Route) -> Lookup:
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(route.hostname, route.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "no name of a host"
        for_now = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        return Lookup(seconds=time.monotonic() - began, problem=why or str(error), for_now=for_now)
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return Lookup(tuple(addresses), time.monotonic() - began)


def _look(
    transport: DiagnosableTransport, route: Route, arrival: LoginInfo, base_dir: str, said: Callable[[str], None]
) -> Facts:
    """Raises `ConnectionFailed` where the host does not answer."""
    timeout = transport.settings.request_timeout
    said("opening a session")
    opening = _open(transport, timeout)
    if opening.seconds > session_module.SLOW_OPENING:
        # a busy machine is slow now and then, rc files are each time
        opening = min(opening, _open(transport, timeout), key=lambda found: found.seconds)
    with contextlib.closing(open_shell(transport)) as shared:
        pace = _pace(shared, timeout)
        said("looking what outlives a connection")
        detached = detach(transport, shared)
        said("asking for facts")
        began = time.monotonic()
        account = account_of(shared, base_dir, timeout)
        slowest = time.monotonic() - began
        said("counting sessions")
        most = min(_MOST, max(_FEWEST, transport.settings.max_sessions + 2))
        sessions = count_sessions(transport, most=most, own=1, deadline=deadline_in(timeout))
        said("asking for more facts")
        slurm = facts.slurm(shared.call("doctor_slurm", deadline=deadline_in(timeout + _SLURM)).parts)
        elsewhere: tuple[DirectoryFacts, ...] = ()
        if recommendations.needs_another_place(account.base.place, account.base.own):
            parts = shared.call("doctor_elsewhere", deadline=deadline_in(timeout + _SLURM)).parts
            elsewhere = facts.places(parts)
        survival = watch(detached, shared, timeout)
    return Facts(
        route, arrival, opening, pace, account, sessions, survival, slurm, elsewhere=elsewhere, slowest=slowest
    )


def account_of(shared: RemoteShell, base_dir: str, timeout: float) -> Account:
    """What the host says of the account. Raises `RemoteCommandFailed` where its /bin/sh is none."""
    told = shared.call(request_text("doctor_facts", quoting.directory_word(base_dir)), deadline=deadline_in(timeout))
    if not facts.first(told.parts, "place"):
        raise RemoteCommandFailed(
            f"the host's /bin/sh does not understand what it is asked: {told.text}",
            host=shared.session.host,
            next_step="see what its /bin/sh is: it is to be a POSIX shell",
        )
    return facts.account(told.parts)


def _open(transport: DiagnosableTransport, timeout: float) -> Opening:
    """A session that does nothing."""
    deadline = deadline_in(timeout)
    began = time.monotonic()
    with contextlib.closing(Session(transport, "exit 0", deadline=deadline)) as session:
        took = time.monotonic() - began
        session.wait(deadline=deadline)
        return Opening(took, session.preamble.decode("utf-8", "replace") + session.stderr_text())


def _pace(shared: RemoteShell, timeout: float) -> Latency:
    times = []
    for _ in range(_LOOKS):
        began = time.monotonic()
        shared.call(request_text("echo_back", "here"), deadline=deadline_in(timeout))
        times.append(time.monotonic() - began)
    began = time.time()
    clock = facts.first(shared.call("doctor_clock", deadline=deadline_in(timeout)).parts, "clock")
    took = time.time() - began
    pace = Latency(statistics.median(times), max(times))
    if not clock.isdigit():
        return pace
    # it said a whole second of which any part may have passed, at any moment of the round trip
    return Latency(pace.median, pace.longest, int(clock) + 0.5 - (began + took / 2), 0.5 + took / 2)


def _judged(seen: Facts, transport: DiagnosableTransport, base_dir: str) -> Iterator[CheckResult]:
    account: Account = seen.account
    settings = transport.settings
    yield session_module.judge_pace(seen.pace)
    yield CheckResult("system", Status.OK if account.system else Status.UNKNOWN, account.system or "not known")
    yield session_module.judge_shell(account.shell, account.sh)
    yield session_module.judge_rc_files(seen.opening, seen.pace, account.shell)
    of_the_user = settings.existing_master == "require"
    yield session_module.judge_sessions(seen.sessions, settings.max_sessions, of_the_user=of_the_user)
    yield session_module.judge_clock(seen.pace)
    yield storage.judge_base(account.base, base_dir)
    yield storage.judge_room(account.base)
    yield storage.judge_noexec(account.base)
    yield from system.judge_tools(account)
    yield system.judge_detaching(account)
    yield system.judge_logout(seen.survival, account)
    yield system.judge_slurm(seen.slurm, settings.launcher)


def _unasked(why: str) -> CheckResult:
    return CheckResult("all else", Status.UNKNOWN, f"not known: {why}")
