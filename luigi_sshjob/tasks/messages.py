"""Replies of a running job to messages that are sent from luigid's page."""

from __future__ import annotations

import logging
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from luigi_sshjob.errors import SSHJobError
from luigi_sshjob.jobs.client import client_identity
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.status import TaskStatus, describe_status
from luigi_sshjob.text import escape_response, format_duration, printable_line

logger = logging.getLogger("luigi-interface")

SUMMARY = "status, tail N, cancel"
"""The messages in one line; the response to any other one explains them."""

REFUSAL = "the message does nothing: accepts_messages is false, in [sshjob] of Luigi's configuration or in the task"

_LINES = 10
_MOST_LINES = 500
_WIDTH = 1000

_HELP = f"""\
  status   the current status of the job
  tail     the last {_LINES} lines of its log
  tail N   the last N of them, 1 to {_MOST_LINES}
  cancel   end the job with all its processes"""


def has_messages(task: TaskStatus) -> bool:
    """Whether messages to the task wait for a response."""
    waiting = _waiting(task)
    return waiting is not None and not waiting.empty()


def answer_all(task: TaskStatus, *, accepted: bool) -> None:
    """Responds to them, see `answer`."""
    while has_messages(task):
        answer(task, _waiting(task).get(), accepted=accepted)


def _waiting(task: TaskStatus) -> Any:
    """The queue of messages to the task; None unless a worker runs it that receives them."""
    return getattr(task, "scheduler_messages", None)


def answer(task: TaskStatus, message: Any, *, accepted: bool) -> None:
    """Has the task execute one of Luigi's scheduler messages if they are accepted, and sends the response."""
    logger.info("%s: received the scheduler message %r", task, str(message))
    try:
        response = str(task.on_scheduler_message(message)) if accepted else REFUSAL
    except Exception as error:  # noqa: BLE001 - users' code; the error is the response
        logger.warning("%s: the message %r: %s", task, str(message), error)
        response = str(error) if isinstance(error, SSHJobError) else f"{type(error).__name__}: {error}"
    try:
        message.respond(escape_response(response))
    except Exception as error:  # noqa: BLE001 - any failure of the scheduler; the job must not lose its watcher
        logger.warning("%s: no response to the message %r was sent: %s", task, str(message), error)


def reply_to_message(message: Any, find: Callable[[], Job]) -> str:
    """Execute one of Luigi's scheduler messages for the job that `find` returns; "cancel" returns when it has ended.

    Raises the errors of `find` and of the methods of `Job`.
    """
    content = str(message)
    word, *arguments = content.lower().split(None, 1) or [""]
    if word == "tail":
        return _tail(arguments[0].strip() if arguments else "", find)
    if word == "status" and not arguments:
        job = find()
        status = job.status()
        age = "" if status.running_for is None else f" for {format_duration(status.running_for)}"
        return "\n".join(describe_status(job.ref, status, age))
    if word == "cancel" and not arguments:
        job = find()
        return f"{job.id} {job.cancel(sender(message))}"
    return f"{_quoted(content.strip())} is not understood. You can send:\n{_HELP}"


def sender(message: Any) -> str:
    """Where a message came from and who executes it, for the exit record."""
    # only a remote scheduler has a URL; not the account and password that may be in it
    url = getattr(getattr(message, "_scheduler", None), "_url", "")
    address = urllib.parse.urlsplit(url).netloc.rpartition("@")[2] if isinstance(url, str) else ""
    via = f" via luigid at {address}" if address else ""
    return f"scheduler message{via}, executed by {client_identity()}"


def _tail(argument: str, find: Callable[[], Job]) -> str:
    lines = int(argument) if re.fullmatch(r"[0-9]{1,4}", argument) else 0
    if argument and not 1 <= lines <= _MOST_LINES:
        whole = f"The whole log:\n{find().logs_command}"
        return f"{_quoted(argument)} is not a number of lines from 1 to {_MOST_LINES}.\n{whole}"
    found = find().tail(lines or _LINES)
    return "\n".join(printable_line(line, _WIDTH) for line in found) or "the log is empty so far"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
