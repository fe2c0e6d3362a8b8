"""Judges what a session meets with: the shell and its rc files, the pace of answers, the clock, how many fit."""

from __future__ import annotations

import posixpath

from luigi_sshjob.doctor.facts import Latency, Opening, Sessions
from luigi_sshjob.doctor.report import CheckResult, Status, seconds

SLOW_OPENING = 0.5  # seconds, above a round trip or two
_SLOW_ANSWER = 1.0
_CLOCK = 2.0

# What the login shell does not read beyond this in a session that is not a person's.
_GUARDS = {
    "bash": "case $- in *i*) ;; *) return ;; esac at the top of ~/.bashrc",
    "zsh": "[[ -o interactive ]] || return at the top of ~/.zshenv",
    "fish": "status is-interactive; or return at the top of ~/.config/fish/config.fish",
    "tcsh": "if (! $?prompt) exit at the top of ~/.cshrc or ~/.tcshrc",
    "csh": "if (! $?prompt) exit at the top of ~/.cshrc",
}


def judge_shell(shell: str, sh: str) -> CheckResult:
    """Of the account, and of the host."""
    measured = {"login_shell": shell, "sh": sh}
    ours = f"; /bin/sh is {sh}" if sh and sh != "/bin/sh" else ""
    if not shell:
        return CheckResult("login shell", Status.UNKNOWN, f"not known: the host sets no SHELL{ours}", measured=measured)
    return CheckResult("login shell", Status.OK, f"{shell}{ours}", measured=measured)


def judge_rc_files(opening: Opening, pace: Latency, shell: str) -> CheckResult:
    """What a session costs before it begins."""
    slow = opening.seconds - 2 * pace.median > SLOW_OPENING
    measured = {"seconds": round(opening.seconds, 3), "printed": opening.preamble}
    texts = [f"a session opens in {seconds(opening.seconds)}"]
    if slow:
        texts[0] += f", a round trip takes {seconds(pace.median)}"
    preamble = " ".join(opening.preamble.split())
    if preamble:
        texts.append(f"they print {preamble[:80]!r}, which check_output(), scp and rsync take for data")
    else:
        texts.append("nothing is printed")
    if not slow and not preamble:
        return CheckResult("rc files", Status.OK, "; ".join(texts), measured=measured)
    guard = _GUARDS.get(posixpath.basename(shell), "a test for a terminal at the top of what its login shell reads")
    remedy = f"leave them early where nobody looks: {guard}; what is printed or slow goes behind it"
    return CheckResult("rc files", Status.NOTE, "; ".join(texts), remedy, measured)


def judge_pace(pace: Latency) -> CheckResult:
    """Of requests to the shell that stays open."""
    text = f"{seconds(pace.median)} (median; the longest took {seconds(pace.longest)})"
    measured = {"median": round(pace.median, 5), "longest": round(pace.longest, 5)}
    if pace.median > _SLOW_ANSWER:
        remedy = "nothing, if the host is far away or busy; jobs do not wait for it, but each look at them does"
        return CheckResult("round trip", Status.NOTE, text, remedy, measured)
    return CheckResult("round trip", Status.OK, text, measured=measured)


def judge_clock(pace: Latency) -> CheckResult:
    """Whether it goes as this machine's does. No job depends on it."""
    if pace.clock_ahead is None:
        return CheckResult("clock", Status.UNKNOWN, "not known: the host did not tell the time")
    error = f"(measured to {seconds(pace.clock_error)})"
    measured = {"ahead": round(pace.clock_ahead, 2), "error": round(pace.clock_error, 2)}
    if abs(pace.clock_ahead) <= _CLOCK + pace.clock_error:
        return CheckResult("clock", Status.OK, f"agrees with this machine's {error}", measured=measured)
    way = "ahead of" if pace.clock_ahead > 0 else "behind"
    return CheckResult(
        "clock",
        Status.NOTE,
        f"{seconds(abs(pace.clock_ahead))} {way} this machine's {error}",
        "have both keep time by NTP; jobs are not harmed, but times in records and of files are off, and Kerberos "
        "refuses five minutes",
        measured,
    )


def judge_sessions(found: Sessions, max_sessions: int, *, of_the_user: bool) -> CheckResult:
    """Whether `max_sessions` of them fit on the connection."""
    others = f" ({found.others} of them were others of yours)" if found.others else ""
    others += "; those that you have open yourself are not counted" if of_the_user else ""
    measured = {"open_at_once": found.open, "limit": found.open if found.refused else None, "others": found.others}
    if found.problem:
        text = f"not known: {found.open} were open at once{others}, then: {found.problem}"
        return CheckResult("sessions", Status.UNKNOWN, text, measured=measured)
    if not found.refused:
        text = f"{found.open} at once{others}, and perhaps more: no more were tried"
        verdict = Status.OK if found.open > max_sessions else Status.UNKNOWN
        return CheckResult("sessions", verdict, text, measured=measured)
    text = f"{found.open} at once on one connection{others}, not more"
    if found.open > max_sessions:
        return CheckResult("sessions", Status.OK, text, measured=measured)
    remedy = f"lower max_sessions, which is {max_sessions}, or ask its administrator for a higher MaxSessions"
    if found.open == 1:
        remedy = "ask its administrator for a higher MaxSessions: transfers and looks at jobs take turns"
    return CheckResult("sessions", Status.NOTE, text, remedy, measured)
