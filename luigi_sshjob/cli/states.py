"""The words for the states of jobs, and which of them a person looks at first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from luigi_sshjob.jobs.listing import JobSummary

FAILURES = ("failed", "killed", "timed_out", "lost")
_DOUBTFUL = ("unknown", "elsewhere", "unsupervised")
_ACTIVE = ("running", "queued", "claimed")
_OTHERS = ("cancelled", "succeeded")

STATES = (*FAILURES, *_DOUBTFUL, *_ACTIVE, *_OTHERS)
"""All states and outcomes, those that need attention first."""

WITHOUT_RECORD = frozenset(["lost", *_DOUBTFUL, *_ACTIVE])
"""The states of attempts that have no exit record."""

SORTS = ("state", "age", "job", "host")

_RANKS = {
    **dict.fromkeys(FAILURES, 0),
    **dict.fromkeys(_DOUBTFUL, 1),
    **dict.fromkeys(_ACTIVE, 2),
    **dict.fromkeys(_OTHERS, 3),
}


def state_label(attempt: JobSummary) -> str:
    """The state as words and a code: failed 3, killed KILL, timed out."""
    outcome = attempt.status.outcome
    code: str | int | None = None
    if outcome and attempt.status_word in ("failed", "killed"):
        code = outcome.signal or outcome.exit_code
    return f"{spoken(attempt.status_word)} {code}" if code else spoken(attempt.status_word)


def spoken(state: str) -> str:
    """A state as people read it."""
    return state.replace("_", " ")


def summary(attempts: Sequence[JobSummary], total: int) -> str:
    """How many attempts are in each state, of `total` on the hosts: 502 jobs: 3 failed, 40 running, 459 succeeded."""
    counts = Counter(each.status_word for each in attempts)
    order = [*STATES, *sorted(set(counts) - set(STATES))]
    of = f"{len(attempts)} of " if total > len(attempts) else ""
    head = f"{of}{max(total, len(attempts))} {'job' if max(total, len(attempts)) == 1 else 'jobs'}"
    states = ", ".join(f"{counts[state]} {spoken(state)}" for state in order if counts[state])
    return f"{head}: {states}" if states else head


def sort_attempts(attempts: Sequence[JobSummary], by: str) -> list[JobSummary]:
    """Sorts by one of `SORTS`. Equal ones are in the order of state, then age.

    By state, failures are first, then doubtful states, then active jobs, then the others; in each group the newest
    change is first. A failure that a newer attempt of the same task follows is one of the others.
    """
    # the last one of a key counts
    newest = dict(sorted((_task(each), each.job.attempt) for each in attempts))

    def rank(attempt: JobSummary) -> int:
        found = _RANKS.get(attempt.status_word, 1)
        return 3 if found == 0 and attempt.job.attempt < newest[_task(attempt)] else found

    def age(attempt: JobSummary) -> float:
        return math.inf if attempt.since is None else attempt.since

    in_order = sorted(attempts, key=lambda each: (rank(each), age(each), each.job.host, each.job.key, each.job.attempt))
    if by == "age":
        in_order.sort(key=age)
    elif by == "job":
        in_order.sort(key=lambda each: (each.job.key, each.job.attempt))
    elif by == "host":
        in_order.sort(key=lambda each: each.job.host)
    return in_order


def _task(attempt: JobSummary) -> tuple[str, str]:
    return attempt.job.host, attempt.job.directory.rpartition("/")[0]
