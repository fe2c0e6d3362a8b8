"""Judges how the host was reached, or at which step it was not."""

from __future__ import annotations

from luigi_sshjob.doctor.facts import Lookup
from luigi_sshjob.doctor.report import CheckResult, Status, seconds
from luigi_sshjob.errors import ConfigurationError, SSHJobError
from luigi_sshjob.ssh.transports.login_info import LoginInfo, Route

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
# More specific than the next step of the error itself.
_REMEDIES = {
    "no-common-algorithm": (
        "have the server updated; until then name in the ssh configuration what it offers (HostKeyAlgorithms, "
        "KexAlgorithms, PubkeyAcceptedAlgorithms)"
    ),
    "jump-host-failed": (
        "check host and port as the jump host sees them, and that it forwards (AllowTcpForwarding, PermitOpen)"
    ),
    "not-an-ssh-server": ("check that the port is sshd's: something else answers there, or nothing that speaks SSH"),
    "connection-dropped": (
        "wait some minutes; the server drops connections before they log in: too many at once (MaxStartups), or "
        "this machine's address is shut out (fail2ban, PerSourcePenalties, hosts.deny). Its administrator can tell"
    ),
    "connection-refused": (
        "check the port, and that an sshd runs there: the machine answers, but nothing listens on that port"
    ),
    "no-response": (
        "check that the machine is up and that no firewall stands before that port; where it is only slow, raise "
        "connect_timeout in [sshjob]"
    ),
}

# The steps behind the name, and what is known of one when a later one has failed.
_DONE = {
    "connection": "an sshd answers at {route.hostname} port {route.port}",
    "key exchange": "both know the same algorithms",
    "host key": "taken for that of {route.known_as}",
    "authentication": "",
}
_ORDER = list(_DONE)


def judge_name(route: Route, lookup: Lookup | None, *, reached: bool = False) -> CheckResult:
    """`lookup` is None where the name is not looked up on this machine."""
    name = f"{route.hostname} port {route.port}"
    if lookup is None:
        verdict = Status.OK if reached else Status.UNKNOWN
        return CheckResult("name", verdict, f"{name}; not looked up here, but by {route.through}")
    measured = {"addresses": list(lookup.addresses), "seconds": round(lookup.seconds, 3)}
    if lookup.problem:
        remedy = (
            "wait for the name service of this machine"
            if lookup.for_now
            else "check the spelling of the host, or give it a HostName in the ssh configuration"
        )
        return CheckResult("name", Status.FAIL, f"{route.hostname}: {lookup.problem}", remedy, measured)
    found = ", ".join(lookup.addresses)
    text = name if found == route.hostname else f"{name} is {found}"
    if lookup.seconds > _SLOW_LOOKUP:
        return CheckResult(
            "name",
            Status.NOTE,
            f"{text}; looking it up took {seconds(lookup.seconds)}",
            "see to the name service of this machine, or give the host's address as HostName in the ssh configuration",
            measured,
        )
    return CheckResult("name", Status.OK, text, measured=measured)


def judge_failed_login(error: SSHJobError, route: Route | None) -> list[CheckResult]:
    """One that was not made: the steps that were, and the one at which it failed. `route` is None where not known."""
    if isinstance(error, ConfigurationError) or route is None:
        return [CheckResult("configuration", Status.FAIL, error.problem, error.next_step)]
    if error.code == "proxy-failed":
        remedy = f"{error.next_step}; have {route.through or 'the way there'} examined in the same way"
        return [CheckResult("connection", Status.FAIL, f"{error.problem} (at {route.through}, or behind it)", remedy)]
    step = _STEPS.get(error.code, "login")
    remedy = _REMEDIES.get(error.code, error.next_step)
    if error.code == "host-key-changed":
        remedy = (
            "find out from its administrator why the host key changed; if that is in order, "
            f"ssh-keygen -R {route.known_as!r}, and log in once by hand"
        )
    done = _ORDER[: _ORDER.index(step)] if step in _ORDER else []
    return [
        *(CheckResult(name, Status.OK, _DONE[name].format(route=route)) for name in done),
        CheckResult(step, Status.FAIL, error.problem, remedy),
    ]


def judge_login(route: Route, arrival: LoginInfo, *, of_the_user: bool) -> CheckResult:
    """One that was made, or a connection that was there."""
    where = f"as {route.username}{f', through {route.through}' if route.through else ''}"
    if arrival.seconds is None:
        whose = "your own connection" if of_the_user else "the shared connection, which was there,"
        return CheckResult("login", Status.OK, f"{where}: {whose} is used; how long a login takes is not known")
    method = f", by {arrival.method}" if arrival.method else ""
    server = f"; the server is {arrival.server}" if arrival.server else ""
    text = f"{where} in {seconds(arrival.seconds)}{method}{server}"
    measured = {"seconds": round(arrival.seconds, 3), "method": arrival.method, "server": arrival.server}
    if arrival.seconds > _SLOW_LOGIN:
        return CheckResult(
            "login",
            Status.NOTE,
            text,
            "ask its administrator about UseDNS and slow PAM modules; GSSAPIAuthentication no in the ssh configuration "
            "helps where no Kerberos is used",
            measured,
        )
    return CheckResult("login", Status.OK, text, measured=measured)


def judge_host_key(arrival: LoginInfo) -> CheckResult:
    """Whether the host is the one that was meant."""
    measured = {"host_key": arrival.host_key, "trust": arrival.trust}
    if arrival.trust == "known":
        return CheckResult("host key", Status.OK, f"{arrival.host_key}, known", measured=measured)
    if arrival.trust == "unchecked":
        return CheckResult(
            "host key",
            Status.NOTE,
            f"{arrival.host_key}, taken without being known",
            "compare the fingerprint with its administrator's, have it in known_hosts, and do not set "
            "no_host_key_check or StrictHostKeyChecking no",
            measured,
        )
    if arrival.trust == "changed":
        return CheckResult(
            "host key",
            Status.FAIL,
            f"{arrival.host_key}, taken although known_hosts has another",
            "find out from its administrator why the key changed, and do not set StrictHostKeyChecking no",
            measured,
        )
    return CheckResult("host key", Status.UNKNOWN, "not known, as no login was made")
