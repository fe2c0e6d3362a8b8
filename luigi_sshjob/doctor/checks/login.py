"""Checks the login, or reports the step at which it failed."""

from __future__ import annotations

from luigi_sshjob.doctor.facts import NameLookup
from luigi_sshjob.doctor.report import CheckResult, Status
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route
from luigi_sshjob.text import format_seconds

_SLOW_LOOKUP = 2.0  # seconds
_SLOW_LOGIN = 5.0

# The step at which a login failed, by the error's code. Other errors: "login".
_STEPS = {
    "name-service-unavailable": "name",
    "name-unknown": "name",
    "jump-host-failed": "connection",
    "not-an-ssh-server": "connection",
    "connection-dropped": "connection",
    "connection-refused": "connection",
    "no-response": "connection",
    "no-common-algorithm": "key exchange",
    "host-key-changed": "host key",
    "host-key-unknown": "host key",
    "authentication-failed": "authentication",
}
# The steps after the name, and what is known about them if a later one failed.
_PASSED = {
    "connection": "an SSH server responds at {route.hostname} port {route.port}",
    "key exchange": "common algorithms were found",
    "host key": "accepted for {route.known_as}",
    "authentication": "",
}
_ORDER = list(_PASSED)


def check_name(route: Route, lookup: NameLookup | None, *, reached: bool = False) -> CheckResult:
    """Check the lookup of the host's name; `lookup` is None if this machine does not resolve it."""
    name = f"{route.hostname} port {route.port}"
    if lookup is None:
        status = Status.OK if reached else Status.UNKNOWN
        return CheckResult("name", status, f"{name}; resolved by {route.through}, not on this machine")
    measured = {"addresses": list(lookup.addresses), "seconds": round(lookup.seconds, 3)}
    if lookup.problem:
        remedy = (
            "wait for the name service of this machine"
            if lookup.temporary
            else "check the spelling of the host, or give it a HostName in the ssh configuration"
        )
        return CheckResult("name", Status.FAIL, f"{route.hostname}: {lookup.problem}", remedy, measured)
    addresses = ", ".join(lookup.addresses)
    text = name if addresses == route.hostname else f"{name} is {addresses}"
    if lookup.seconds > _SLOW_LOOKUP:
        return CheckResult(
            "name",
            Status.NOTE,
            f"{text}; the lookup took {format_seconds(lookup.seconds)}",
            "fix the name service of this machine, or give the host's address as HostName in the ssh configuration",
            measured,
        )
    return CheckResult("name", Status.OK, text, measured=measured)


def check_failed_login(error: SSHJobError, route: Route | None) -> list[CheckResult]:
    """Return the steps of the login that passed, and the one that failed. `route` is None if it is unknown."""
    if isinstance(error, ConfigurationError) or route is None:
        return [CheckResult("configuration", Status.FAIL, error.problem, error.next_step)]
    if error.code == "proxy-failed":
        remedy = f"{error.next_step}; check {route.through or 'the proxy'} in the same way"
        return [CheckResult("connection", Status.FAIL, f"{error.problem} (at {route.through}, or behind it)", remedy)]
    step = _STEPS.get(error.code, "login")
    remedy = error.next_step
    if error.code == "host-key-changed":
        remedy = (
            "ask the administrator why the host key changed; if that is correct, run "
            f"ssh-keygen -R {route.known_as!r} and log in once by hand"
        )
    passed = _ORDER[: _ORDER.index(step)] if step in _ORDER else []
    return [
        *(CheckResult(name, Status.OK, _PASSED[name].format(route=route)) for name in passed),
        CheckResult(step, Status.FAIL, error.problem, remedy),
    ]


def check_login(route: Route, login: LoginInfo, *, existing_master: bool) -> CheckResult:
    """Report how the login was made, or that there was a connection already."""
    account = f"as {route.username}{f', through {route.through}' if route.through else ''}"
    if login.seconds is None:
        connection = "your own connection" if existing_master else "the existing shared connection"
        return CheckResult("login", Status.OK, f"{account}, over {connection}; the duration of a login is unknown")
    method = f", by {login.method}" if login.method else ""
    server = f"; the server is {login.server}" if login.server else ""
    text = f"{account} in {format_seconds(login.seconds)}{method}{server}"
    measured = {"seconds": round(login.seconds, 3), "method": login.method, "server": login.server}
    if login.seconds > _SLOW_LOGIN:
        return CheckResult(
            "login",
            Status.NOTE,
            text,
            "ask the administrator about UseDNS and slow PAM modules; without Kerberos, GSSAPIAuthentication no in the "
            "ssh configuration helps",
            measured,
        )
    return CheckResult("login", Status.OK, text, measured=measured)


def check_host_key(login: LoginInfo) -> CheckResult:
    """Check that the host's key was known."""
    measured = {"host_key": login.host_key, "trust": login.trust}
    if login.trust == "known":
        return CheckResult("host key", Status.OK, f"{login.host_key}, known", measured=measured)
    if login.trust == "unchecked":
        return CheckResult(
            "host key",
            Status.NOTE,
            f"{login.host_key}, accepted although it is unknown",
            "compare the fingerprint with the administrator's, add the key to known_hosts, and do not set "
            "no_host_key_check or StrictHostKeyChecking no",
            measured,
        )
    if login.trust == "changed":
        return CheckResult(
            "host key",
            Status.FAIL,
            f"{login.host_key}, accepted although known_hosts has another one",
            "ask the administrator why the key changed, and do not set StrictHostKeyChecking no",
            measured,
        )
    return CheckResult("host key", Status.UNKNOWN, "unknown, as no login was made")
