"""Replies of a running job to messages that are sent from luigid's page."""

from __future__ import annotations

import re
from collections.abc import Callable

from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.status import describe_status
from luigi_sshjob.text import format_duration, printable_line

_LINES = 10
_MOST_LINES = 500
_WIDTH = 1000

_HELP = f"""\
  status   the current status of the job
  tail     the last {_LINES} lines of its log
  tail N   the last N of them, 1 to {_MOST_LINES}
  cancel   end the job with all its processes"""


def reply_to_message(message: str, find: Callable[[], Job]) -> str:
    """Execute a message for the job that `find` returns; "cancel" returns when the job has ended.

    Raises the errors of `find` and of the methods of `Job`.
    """
    word, *arguments = message.lower().split(None, 1) or [""]
    if word == "tail":
        return _tail(arguments[0].strip() if arguments else "", find)
    if word == "status" and not arguments:
        job = find()
        status = job.status()
        age = "" if status.running_for is None else f" for {format_duration(status.running_for)}"
        return "\n".join(describe_status(job.ref, status, age))
    if word == "cancel" and not arguments:
        job = find()
        return f"{job.id} {job.cancel()}"
    return f"{_quoted(message.strip())} is not understood. You can send:\n{_HELP}"


def _tail(argument: str, find: Callable[[], Job]) -> str:
    lines = int(argument) if re.fullmatch(r"[0-9]{1,4}", argument) else 0
    if argument and not 1 <= lines <= _MOST_LINES:
        whole = f"The whole log:\n{find().logs_command}"
        return f"{_quoted(argument)} is not a number of lines from 1 to {_MOST_LINES}.\n{whole}"
    found = find().tail(lines or _LINES)
    return "\n".join(printable_line(line, _WIDTH) for line in found) or "the log is empty so far"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
