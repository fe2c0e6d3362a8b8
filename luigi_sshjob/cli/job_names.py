"""Tells HOST from JOB in the words of a command line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

# as luigi.task.task_id_str makes them, with the first digits of a hash at the end, or `job_key` for a long one
_TASK_ID = re.compile(r".+_(?:[0-9a-f]{10}|[0-9a-f]{16})")


@dataclasses.dataclass(frozen=True)
class JobNames:
    """Names of jobs, and the host that has them, if it was given.

    `doubtful` if the first word was only taken for a host because no rule says that it is a job.
    """

    host: str | None
    jobs: list[str]
    doubtful: bool = False


def split_words(words: Sequence[str], recent: Sequence[str], single: bool) -> JobNames:
    """Interpret `[HOST] JOB` if `single`, else `[HOST] JOB...`; `recent` are the recently used hosts.

    One word is a job. Of several, the first one is the host; but if there may be several jobs, one with an attempt
    (``TASK_ID/1``) or a whole task id of Luigi is a job, unless it is a recently used host.
    """
    first, *others = words
    if not others:
        return JobNames(None, [first])
    if single or first in recent:
        return JobNames(first, others)
    if "/" in first or _TASK_ID.fullmatch(first):
        return JobNames(None, list(words))
    return JobNames(first, others, doubtful="@" not in first and ":" not in first)
