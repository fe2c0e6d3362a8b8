"""Status messages: their text, and how often they are sent."""

from __future__ import annotations

import pytest

from luigi_sshjob import text as text_module
from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.tasks.status import StatusReporter, failure

AGAIN = "running the task again is a new attempt"


class Recorder:
    """Records what a task sends to the scheduler, and when."""

    def __init__(self):
        self.now = 0.0
        self.sent: list[tuple[float, object]] = []

    def set_status_message(self, text):
        self.sent.append((self.now, text))

    def set_progress_percentage(self, percentage):
        self.sent.append((self.now, percentage))

    def reporter(self, repeat: float = 10.0) -> StatusReporter:
        return StatusReporter(self, JobRef("box", "Task", 1, "/j/Task/1"), 100, "", repeat, lambda: self.now)


def test_changes_are_sent_to_the_scheduler_at_most_every_three_seconds():
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.CLAIMED))
    for tenth in range(200):
        recorder.now = tenth / 10
        # a job that says something new at each look, for ten seconds
        news = f"line {tenth}\n".encode() if tenth < 100 else b""
        reporter.observe(JobStatus(State.RUNNING, log=news, progress=str(min(tenth, 99))))
    times = [now for now, message in recorder.sent if isinstance(message, str)]
    # the last change as soon as it may be; then that time has passed
    assert times == [0, 3, 6, 9, 12]
    assert recorder.sent[-1][1].endswith("\nline 98\nline 99")
    assert [message for _, message in recorder.sent if isinstance(message, int)] == [0, 30, 60, 90, 99]
    recorder.now = 22.0
    reporter.observe(JobStatus(State.RUNNING, progress="99"))
    assert recorder.sent[-1][1].startswith("running on box for at least 22 s\n99 %\n")


@pytest.mark.parametrize("progress", ["9" * 400, "100.5 %", "٣٠٠"])
def test_a_progress_out_of_range_counts_as_100(progress):
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.RUNNING, progress=progress))
    reporter.conclude(Outcome("succeeded", 0), "")
    assert [message for _, message in recorder.sent if isinstance(message, int)] == [100]


def test_the_age_of_a_job_is_measured_by_its_host():
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.QUEUED, "Slurm job 4711, Priority"))
    assert recorder.sent[-1][1].startswith("queued on box\nSlurm job 4711, Priority")
    recorder.now = 90.0
    reporter.observe(JobStatus(State.QUEUED, "Slurm job 4711, Priority"))
    assert recorder.sent[-1][1].startswith("queued on box for at least 1 min 30 s\nSlurm job 4711, Priority")
    recorder.now = 100.0
    reporter.observe(JobStatus(State.RUNNING, running_for=3 * 86400 + 4 * 3600, log=b"one\n"))
    recorder.now = 100.0 + 3600
    reporter.observe(JobStatus(State.RUNNING))
    assert recorder.sent[-1][1].startswith("running on box for 3 d 5 h\n")
    assert "\nThe last lines of its log (nothing new for 1 h):\none" in recorder.sent[-1][1]
    reporter.conclude(Outcome("failed", 7, reason="the disk is full"), "")
    assert recorder.sent[-1][1].startswith("failed with exit code 7: the disk is full\non box after 3 d 5 h\n")


def test_an_unreachable_host_is_reported_at_once_and_its_return_soon():
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.RUNNING, running_for=60))
    for second in range(1, 15):
        recorder.now = float(second)
        reporter.report_unreachable(HostUnreachable("the wire is cut"))
    recorder.now = 14.5
    reporter.observe(JobStatus(State.RUNNING))
    first, second, back = [message for _, message in recorder.sent[1:]]
    status = "its jobs keep running\nthe wire is cut\n\nThe last known status:\nrunning on box for 1 min"
    assert first.startswith(f"box does not respond; {status}")
    assert second.startswith(f"box has not responded for 10 s; {status}")
    assert back.startswith("running on box for 1 min 14 s")
    assert [now for now, _ in recorder.sent] == [0, 1, 11, 14.5]


def test_a_host_that_is_unreachable_from_the_beginning_is_reported():
    recorder = Recorder()
    recorder.reporter().report_unreachable(HostUnreachable("no route"))
    message = "box does not respond; the job will be submitted, or found, when it does\nno route"
    assert recorder.sent == [(0.0, message)]


def test_control_characters_and_tags_are_shown_not_executed():
    line = "\x1b[1;31mred\x1b[0m\x1b(B \x07 \u202egnp.exe \x9b \ud800 tab\there \x1b]8;;http://x\x1b\\link"
    assert text_module.printable_line(line, 100) == (
        r"red \x07 \u202egnp.exe \x9b \ud800 tab" + "\t" + r"here \x1b]8;;http://x\x1b\link"
    )
    assert text_module.printable_line("x" * 300, 200) == "x" * 200 + " … (100 more characters)"
    assert text_module.escape_response("<b>&lt;\"'") == "&lt;b&gt;&amp;lt;\"'"
    # nothing is put into what is harmless
    harmless = "a < b && c <3 -> x&y;z https://x/?a=1&b=2"
    assert text_module.escape_status(harmless) == harmless
    assert text_module.escape_status("<b></b><!--<?&lt;&#60;&copy") == (
        "<\u2060b><\u2060/b><\u2060!--<\u2060?&\u2060lt;&\u2060#60;&\u2060copy"
    )


def test_a_doubt_about_a_job_is_logged_at_once_and_every_five_minutes(caplog):
    recorder = Recorder()
    reporter = recorder.reporter()
    expected = []
    for second, state, logged in (
        (0, State.RUNNING, False),
        (1, State.UNSUPERVISED, True),
        (300, State.UNSUPERVISED, False),
        (301, State.UNSUPERVISED, True),
        (302, State.ELSEWHERE, True),
        (303, State.RUNNING, False),
        (304, State.ELSEWHERE, True),
        (305, State.UNKNOWN, True),
    ):
        recorder.now = float(second)
        reporter.observe(JobStatus(state, f"why at {second} s"))
        expected += [f"[Task/1] {state.value} on box: why at {second} s"] * logged
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == expected


def test_why_a_job_is_queued_is_logged_each_time_that_changes_and_a_hopeless_reason_is_a_warning(caplog):
    caplog.set_level("INFO", "luigi-interface")
    reporter, hint = Recorder().reporter(), "; it does not start until somebody changes that"
    for why, hopeless in (
        ("Priority", False),
        ("Priority", False),
        ("DependencyNeverSatisfied", True),
        ("DependencyNeverSatisfied", True),
        ("Resources", False),
    ):
        reason = f"Slurm job 5, {why}"
        reporter.observe(JobStatus(State.QUEUED, reason, queue_reason=why, hopeless=hopeless))
    reporter.observe(JobStatus(State.RUNNING, "Slurm job 5 on c1", queue_reason="None"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "[Task/1] queued on box: Slurm job 5, Priority"),
        ("WARNING", f"[Task/1] queued on box: Slurm job 5, DependencyNeverSatisfied{hint}"),
        ("INFO", "[Task/1] queued on box: Slurm job 5, Resources"),
    ]


@pytest.mark.parametrize(
    ("outcome", "helps"),
    [
        (Outcome("failed", exit_code=127), True),
        (Outcome("failed", exit_code=126), True),
        (Outcome("failed", exit_code=1), False),
        (Outcome("failed", exit_code=126, reason="no space for the record"), False),
        (Outcome("killed", exit_code=127, signal="KILL"), False),
        (Outcome("cancelled", exit_code=126), False),
        (Outcome("lost"), False),
    ],
    ids=str,
)
def test_only_an_exit_code_that_needs_an_explanation_gets_one(outcome, helps):
    error = failure(JobRef("box", "Task", 1, "/j/Task/1"), outcome, ["x" * 5000] * 20, "luigi-sshjob logs box Task/1")
    assert ("program on the host" in error.next_step) == helps
    assert error.next_step.endswith("see the whole log with `luigi-sshjob logs box Task/1`; " + AGAIN)
    # so few and short that the whole error is in the last lines of a terminal
    lines = str(error).split("\n")
    assert (len(lines), max(map(len, lines[:-1])) < 250) == (9, True)
