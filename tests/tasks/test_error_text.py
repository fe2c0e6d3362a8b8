"""What Luigi shows of errors: the message of an explained one, the traceback of a bug."""

from __future__ import annotations

import json
import re
import traceback

import pytest

from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.tasks import error_text

from support.failing_tasks import LONG_LOG, Buggy, Reading, Scripted
from support.luigi_command import finished

TASKS = ("--module", "support.failing_tasks")
OWN_FRAME = re.compile(r'File ".*/luigi_sshjob/')


def record(text: str, beginning: str) -> list[str]:
    """The lines of the log record that begins so."""
    found = re.search(rf"^{beginning}.*\n(?:(?!DEBUG: |INFO: |WARNING: |ERROR: ).*\n)*", text, re.MULTILINE)
    assert found, text
    return found[0].rstrip("\n").split("\n")


def failed(text: str, task: object) -> list[str]:
    """The lines in which Luigi reports that the task failed."""
    return record(text, rf"ERROR: .* failed +{re.escape(str(task))}")[1:]


def test_explained_errors_are_shown_without_frames_and_bugs_with_a_traceback(host, text_folder, start_luigi):
    scripts = json.dumps([LONG_LOG, "no-such-program", "/etc/passwd"])
    parameters = ["--host", host.alias, "--scripts", scripts, "--workers", "3", "--local-scheduler"]
    text = finished(start_luigi(*TASKS, "Failures", *parameters), 30)

    task = Scripted(host=host.alias)
    job = f"{task.task_id}/1"
    ending = "running the task again is a new attempt"
    assert failed(text, task) == [
        f"host {host.alias}, job {job}: it failed with exit code 7",
        "The last lines of its log:",
        *(f"  | line {number}" for number in range(36, 41)),
        "  | ValueError: no reads left",
        f"Next: see the whole log with `luigi-sshjob logs {host.alias} {job}`; {ending}",
    ]

    *_, log, next_step = failed(text, Scripted(host=host.alias, script="no-such-program"))
    assert "not found" in log
    assert "the PATH of a non-interactive shell" in next_step
    assert "or load it with `setup` or `modules`" in next_step

    *_, log, next_step = failed(text, Scripted(host=host.alias, script="/etc/passwd"))
    assert "ermission denied" in log
    assert next_step.startswith("Next: make the program on the host executable for the account: chmod +x, ")

    bug = failed(text, Buggy(host=host.alias))
    assert bug[0] + bug[-1] == "Traceback (most recent call last):ZeroDivisionError: integer division or modulo by zero"
    assert OWN_FRAME.search("\n".join(bug))

    users = failed(text, Reading(host=host.alias))
    assert len([line for line in users if 'failing_tasks.py", line ' in line]) == 1
    assert not OWN_FRAME.search("\n".join(users))
    assert users[-2].startswith(f"luigi_sshjob.errors.FileMissing: host {host.alias}, ")
    assert users[-1].startswith("Next: ")


@pytest.mark.parametrize("remote_jobs", ["a process for each"], indirect=True)
def test_level_debug_shows_the_traceback_of_an_explained_error(host, text_folder, start_luigi):
    parameters = ["--host", host.alias, "--log-level", "DEBUG", "--local-scheduler"]
    text = finished(start_luigi(*TASKS, "Scripted", *parameters), 30)
    lines = failed(text, Scripted(host=host.alias))
    assert OWN_FRAME.search("\n".join(lines))
    assert any("it failed with exit code 7" in line for line in lines[-10:])


def test_an_error_while_scheduling_is_shown_without_frames(luigi_cfg, start_luigi):
    text = finished(start_luigi(*TASKS, "Scripted", "--host", "a b", "--local-scheduler"))
    first, *lines = record(text, "WARNING: Will not run Scripted")
    assert first.endswith("due to error in complete() method:")
    assert lines == [
        f"job {Scripted(host='a b').task_id}: invalid host name: 'a b'",
        "Next: use an alias of ~/.ssh/config, or user@host:port",
    ]


def caught(error: Exception, cause: Exception | None = None) -> Exception:
    """Return the error with a traceback of one frame, in this file."""
    try:
        raise error from cause
    except Exception as raised:  # noqa: BLE001 - whichever it is
        return raised


@pytest.fixture(params=["alone", "with a cause"])
def unreachable(request) -> Exception:
    cause = None if request.param == "alone" else caught(OSError("refused"))
    said = "host down: Traceback (most recent call last):\n  said the host\nTraceback (most recent call last):"
    return caught(HostUnreachable(said, host="box", next_step="wait"), cause)


@pytest.mark.parametrize("whose", ["of a user", "of this package"])
def test_only_frames_of_users_are_shown(unreachable, whose, monkeypatch):
    if whose == "of this package":
        monkeypatch.setattr(error_text, "_PACKAGES", (__file__,))
    shown = error_text.explain(unreachable)
    frames = f'Traceback (most recent call last):\n  File "{__file__}", line '
    if whose == "of a user":
        assert shown.startswith(frames)
        assert shown.count(__file__) == 1
        assert shown.endswith(f"luigi_sshjob.errors.HostUnreachable: {unreachable}")
    else:
        assert shown == str(unreachable)
    # Luigi passes the tracebacks of complete() and requires() on as text
    text = "".join(traceback.format_exception(unreachable))
    assert error_text.shorten(f"Will not run it:\n{text}") == f"Will not run it:\n{shown}"


@pytest.mark.parametrize(
    ("file", "is_shown"),
    [
        ("/python/site-packages/luigi/worker.py", False),
        ("/python/threading.py", False),
        ("<frozen runpy>", False),
        ("/python/site-packages/pipeline/tasks.py", True),
        ("/home/me/tasks.py", True),
        ("<stdin>", True),
    ],
)
def test_packages_of_users_may_be_installed_next_to_luigi(file, is_shown, monkeypatch):
    monkeypatch.setattr(error_text, "_PACKAGES", ("/python/site-packages/luigi/", __file__))
    monkeypatch.setattr(error_text, "_STANDARD_LIBRARY", "/python/")
    error = HostUnreachable("host down")
    try:
        exec(compile("raise error", file, "exec"))
    except HostUnreachable:
        text = "".join(traceback.format_exception(error))
    assert file in text
    assert (file in error_text.explain(error), file in error_text.shorten(text)) == (is_shown, is_shown)


def test_the_traceback_of_another_exception_stays(unreachable, monkeypatch):
    monkeypatch.setattr(error_text, "_PACKAGES", (__file__,))
    other = caught(ValueError("wrong"), unreachable)
    text = "".join(traceback.format_exception(other))
    assert (error_text.explain(other), error_text.shorten(text)) == ("", text)


def test_an_invalid_attribute_of_a_task_is_shown_without_frames(luigi_cfg, monkeypatch):
    class Invalid(Scripted):
        environment = {"A B": "1"}

    monkeypatch.setattr(error_text, "_PACKAGES", (*error_text._PACKAGES, __file__))
    with pytest.raises(ConfigurationError) as raised:
        Invalid(host="box").prepare_run()
    text = "".join(traceback.format_exception(raised.value))
    assert '"<string>"' in text
    assert error_text.explain(raised.value) == error_text.shorten(text) == str(raised.value)
