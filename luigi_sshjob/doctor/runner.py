"""Measures a host step by step and runs all checks.

Makes two logins at most: that of the shared connection, if there is none yet, and one to test whether processes
survive the end of a connection. Leaves nothing on the host.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable, Iterator

from luigi_sshjob.doctor.checks import login, session, storage, system
from luigi_sshjob.doctor.facts import (
    Account,
    DirectoryFacts,
    Facts,
    Latency,
    NameLookup,
    SessionOpening,
    first_value,
    parse_account,
    parse_directories,
    parse_slurm,
)
from luigi_sshjob.doctor.probes.detach import check_survival, open_shell, start_detached
from luigi_sshjob.doctor.probes.session_limit import count_sessions
from luigi_sshjob.doctor.recommendations import is_unsuitable, recommend_settings
from luigi_sshjob.doctor.report import CheckResult, Report, Status
from luigi_sshjob.errors import RemoteCommandFailed, SSHJobError
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import RemoteShell, deadline_in, request_text
from luigi_sshjob.ssh.shell.session import Session
from luigi_sshjob.ssh.transports.base import DiagnosableTransport
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route
from luigi_sshjob.targets.context import RemoteContext

_ROUND_TRIPS = 5
_PROBE_TIMEOUT = 60.0  # seconds that Slurm, or directories on slow file systems, get in addition
_MIN_SESSIONS, _MAX_SESSIONS = 12, 40  # sessions that are tried; sshd allows 10 by default


def run_checks(
    context: RemoteContext, base_dir: str | None = None, progress: Callable[[str], None] = lambda _: None
) -> Report:
    """Run all checks; `progress` is called with a description of each step. An unreachable host is a result, too."""
    host = str(context.destination)
    results, reached, login_info = _log_in(context, progress)
    if not reached:
        # a login may not even have been tried
        invalid = results[-1].check == "configuration"
        reason = "the configuration must be corrected first" if invalid else "the login failed"
        return Report(host, (*results, _skipped(reason)), reachable=False)
    transport = context.connection.transport
    try:
        base_dir = base_dir or transport.settings.base_dir
        with reading_response("the doctor", host):
            facts = _measure(transport, login_info, base_dir, progress)
    except SSHJobError as error:
        no_session = CheckResult("session", Status.FAIL, error.problem, error.next_step)
        return Report(host, (*results, no_session, _skipped("the host did not respond")), reachable=False)
    results += _check(facts, transport, base_dir)
    settings = transport.settings
    recommendations = recommend_settings(
        facts,
        max_sessions=settings.max_sessions,
        connect_timeout=transport.destination.connect_timeout or settings.connect_timeout,
        request_timeout=settings.request_timeout,
        launcher=settings.launcher,
    )
    return Report(host, tuple(results), tuple(recommendations))


def _log_in(
    context: RemoteContext, progress: Callable[[str], None]
) -> tuple[list[CheckResult], bool, LoginInfo | None]:
    """Check the way to the host; return also whether it was reached, and the login if one was needed."""
    route, results = None, []
    try:
        transport = context.connection.transport
        route = transport.route()
        if route is None:
            return [CheckResult("login", Status.OK, "none, as commands run on this machine itself")], True, None
        progress("resolving the name")
        lookup = None if route.through else _resolve(route)
        results.append(login.check_name(route, lookup))
        progress("logging in")
        login_info = transport.connect_verbose()
    except SSHJobError as error:
        failed = login.check_failed_login(error, route)
        # ssh's own error about the name replaces our lookup
        return [*(result for result in results if result.check != failed[-1].check), *failed], False, None
    existing_master = transport.settings.existing_master == "require"
    return (
        [
            login.check_name(route, lookup, reached=True),
            login.check_login(route, login_info, existing_master=existing_master),
            login.check_host_key(login_info),
        ],
        True,
        login_info,
    )


def _resolve(route: Route) -> NameLookup:
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(route.hostname, route.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "invalid host name"
        temporary = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        return NameLookup(seconds=time.monotonic() - began, problem=reason or str(error), temporary=temporary)
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return NameLookup(tuple(addresses), time.monotonic() - began)


def _measure(
    transport: DiagnosableTransport,
    login_info: LoginInfo | None,
    base_dir: str,
    progress: Callable[[str], None],
) -> Facts:
    """Raises `ConnectionFailed` if the host does not respond."""
    timeout = transport.settings.request_timeout
    progress("opening a session")
    opening = _open_session(transport, timeout)
    if opening.seconds > session.SLOW_OPENING:
        # a busy machine is slow only sometimes, rc files are slow each time
        opening = min(opening, _open_session(transport, timeout), key=lambda opening: opening.seconds)
    with contextlib.closing(open_shell(transport)) as shell:
        latency = _measure_latency(shell, timeout)
        detached = None
        if login_info:
            progress("checking whether processes survive a disconnect")
            detached = start_detached(transport, shell)
        progress("inspecting the account")
        began = time.monotonic()
        account = inspect_account(shell, base_dir, timeout)
        slowest = time.monotonic() - began
        progress("counting sessions")
        most = min(_MAX_SESSIONS, max(_MIN_SESSIONS, transport.settings.max_sessions + 2))
        sessions = count_sessions(transport, most=most, own=1, deadline=deadline_in(timeout))
        progress("checking Slurm and other directories")
        slurm = parse_slurm(shell.call("doctor_slurm", deadline=deadline_in(timeout + _PROBE_TIMEOUT)).parts)
        alternatives: tuple[DirectoryFacts, ...] = ()
        if is_unsuitable(account.base.location, account.base.own):
            parts = shell.call("doctor_elsewhere", deadline=deadline_in(timeout + _PROBE_TIMEOUT)).parts
            alternatives = parse_directories(parts)
        survival = check_survival(detached, shell, timeout) if detached else None
    return Facts(
        login_info,
        opening,
        latency,
        account,
        sessions,
        survival,
        slurm,
        alternatives=alternatives,
        slowest=slowest,
    )


def inspect_account(shell: RemoteShell, base_dir: str, timeout: float) -> Account:
    """Return facts about the account. Raises `RemoteCommandFailed` if /bin/sh is not a POSIX shell."""
    request = request_text("doctor_facts", quoting.directory_word(base_dir))
    response = shell.call(request, deadline=deadline_in(timeout))
    if not first_value(response.parts, "place"):
        raise RemoteCommandFailed(
            f"the host's /bin/sh cannot run the checks: {response.text}",
            host=shell.session.host,
            next_step="check its /bin/sh, which must be a POSIX shell",
        )
    return parse_account(response.parts)


def _open_session(transport: DiagnosableTransport, timeout: float) -> SessionOpening:
    deadline = deadline_in(timeout)
    began = time.monotonic()
    with contextlib.closing(Session(transport, "exit 0", deadline=deadline)) as opened:
        took = time.monotonic() - began
        opened.wait(deadline=deadline)
        return SessionOpening(took, opened.preamble.decode("utf-8", "replace") + opened.stderr_text())


def _measure_latency(shell: RemoteShell, timeout: float) -> Latency:
    times = []
    for _ in range(_ROUND_TRIPS):
        began = time.monotonic()
        shell.call(request_text("echo_back", "here"), deadline=deadline_in(timeout))
        times.append(time.monotonic() - began)
    began = time.time()
    clock = first_value(shell.call("doctor_clock", deadline=deadline_in(timeout)).parts, "clock")
    took = time.time() - began
    latency = Latency(statistics.median(times), max(times))
    if not (clock.isdecimal() and len(clock) < 20):
        return latency
    # the clock has whole seconds, and was read at some moment of the round trip
    return Latency(latency.median, latency.longest, int(clock) + 0.5 - (began + took / 2), 0.5 + took / 2)


def _check(facts: Facts, transport: DiagnosableTransport, base_dir: str) -> Iterator[CheckResult]:
    account = facts.account
    settings = transport.settings
    existing_master = settings.existing_master == "require"
    yield session.check_latency(facts.latency)
    yield CheckResult("system", Status.OK if account.system else Status.UNKNOWN, account.system or "unknown")
    yield session.check_shell(account.shell, account.sh)
    yield session.check_rc_files(facts.opening, facts.latency, account.shell)
    yield session.check_sessions(facts.sessions, settings.max_sessions, existing_master=existing_master)
    yield session.check_clock(facts.latency)
    yield storage.check_base_dir(account.base, base_dir)
    yield from storage.check_parents(account.base)
    yield storage.check_space(account.base)
    yield storage.check_noexec(account.base)
    yield from system.check_tools(account)
    yield system.check_setsid(account)
    if facts.survival:
        yield system.check_logout(facts.survival, account)
    yield from system.check_idle_limit(account)
    yield system.check_limits(account)
    yield system.check_slurm(facts.slurm, settings.launcher)


def _skipped(reason: str) -> CheckResult:
    return CheckResult("other checks", Status.UNKNOWN, f"skipped: {reason}")
