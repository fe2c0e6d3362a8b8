"""Checks sessions: login shell, rc files, latency, clock and session limit."""

from __future__ import annotations

import posixpath

from luigi_sshjob.doctor.facts import Latency, SessionCount, SessionOpening
from luigi_sshjob.doctor.report import CheckResult, Status
from luigi_sshjob.text import format_seconds

SLOW_OPENING = 0.5  # seconds, in addition to a round trip or two
_SLOW_ROUND_TRIP = 1.0
_MAX_CLOCK_ERROR = 2.0

# The line that ends an rc file early in a session that is not interactive.
_GUARDS = {
    "bash": "case $- in *i*) ;; *) return ;; esac at the top of ~/.bashrc",
    "zsh": "[[ -o interactive ]] || return at the top of ~/.zshenv",
    "fish": "status is-interactive; or return at the top of ~/.config/fish/config.fish",
    "tcsh": "if (! $?prompt) exit at the top of ~/.cshrc or ~/.tcshrc",
    "csh": "if (! $?prompt) exit at the top of ~/.cshrc",
}


def check_shell(shell: str, sh: str) -> CheckResult:
    """Report the account's login shell and the host's /bin/sh."""
    measured = {"login_shell": shell, "sh": sh}
    bin_sh = f"; /bin/sh is {sh}" if sh and sh != "/bin/sh" else ""
    if not shell:
        text = f"unknown: the host does not set SHELL{bin_sh}"
        return CheckResult("login shell", Status.UNKNOWN, text, measured=measured)
    return CheckResult("login shell", Status.OK, f"{shell}{bin_sh}", measured=measured)


def check_rc_files(opening: SessionOpening, latency: Latency, shell: str) -> CheckResult:
    """Check that rc files are fast and print nothing."""
    slow = opening.seconds - 2 * latency.median > SLOW_OPENING
    measured = {"seconds": round(opening.seconds, 3), "printed": opening.preamble}
    texts = [f"a session opens in {format_seconds(opening.seconds)}"]
    if slow:
        texts[0] += f", a round trip takes {format_seconds(latency.median)}"
    preamble = " ".join(opening.preamble.split())
    if preamble:
        texts.append(f"they print {preamble[:80]!r}, which becomes part of the data of check_output(), scp and rsync")
    else:
        texts.append("they print nothing")
    if not slow and not preamble:
        return CheckResult("rc files", Status.OK, "; ".join(texts), measured=measured)
    guard = _GUARDS.get(posixpath.basename(shell), "a test for a terminal at the top of the login shell's rc file")
    remedy = f"end them early in sessions that are not interactive: {guard}; print and start slow programs after it"
    return CheckResult("rc files", Status.NOTE, "; ".join(texts), remedy, measured)


def check_latency(latency: Latency) -> CheckResult:
    """Check the round trip of requests to an open shell."""
    text = f"{format_seconds(latency.median)} (median; longest {format_seconds(latency.longest)})"
    measured = {"median": round(latency.median, 5), "longest": round(latency.longest, 5)}
    if latency.median > _SLOW_ROUND_TRIP:
        remedy = "none needed if the host is far away or busy: jobs do not wait for round trips, but each poll does"
        return CheckResult("round trip", Status.NOTE, text, remedy, measured)
    return CheckResult("round trip", Status.OK, text, measured=measured)


def check_clock(latency: Latency) -> CheckResult:
    """Compare the host's clock with that of this machine. No job depends on it."""
    if latency.clock_ahead is None:
        return CheckResult("clock", Status.UNKNOWN, "unknown: the host did not report its time")
    error = f"(measured to {format_seconds(latency.clock_error)})"
    measured = {"ahead": round(latency.clock_ahead, 2), "error": round(latency.clock_error, 2)}
    if abs(latency.clock_ahead) <= _MAX_CLOCK_ERROR + latency.clock_error:
        return CheckResult("clock", Status.OK, f"agrees with this machine's {error}", measured=measured)
    direction = "ahead of" if latency.clock_ahead > 0 else "behind"
    return CheckResult(
        "clock",
        Status.NOTE,
        f"{format_seconds(abs(latency.clock_ahead))} {direction} this machine's {error}",
        "synchronise both by NTP; jobs are not affected, but times in records and of files are wrong, and Kerberos "
        "fails above five minutes",
        measured,
    )


def check_sessions(count: SessionCount, max_sessions: int, *, existing_master: bool) -> CheckResult:
    """Check that the connection allows more than `max_sessions` sessions."""
    others = f" ({count.others} of them of your other processes)" if count.others else ""
    others += ", not counting those that you have opened yourself" if existing_master else ""
    measured = {"open_at_once": count.open, "limit": count.open if count.refused else None, "others": count.others}
    if count.problem:
        text = f"unknown: {count.open} were open at the same time{others}; then {count.problem}"
        return CheckResult("sessions", Status.UNKNOWN, text, measured=measured)
    if not count.refused:
        text = f"at least {count.open} on one connection{others}; no more were tried"
        status = Status.OK if count.open > max_sessions else Status.UNKNOWN
        return CheckResult("sessions", status, text, measured=measured)
    text = f"at most {count.open} on one connection{others}"
    if count.open > max_sessions:
        return CheckResult("sessions", Status.OK, text, measured=measured)
    remedy = f"lower max_sessions, which is {max_sessions}, or ask the administrator for a higher MaxSessions"
    if count.open == 1:
        remedy = "ask the administrator for a higher MaxSessions: now transfers and polls must take turns"
    return CheckResult("sessions", Status.NOTE, text, remedy, measured)
