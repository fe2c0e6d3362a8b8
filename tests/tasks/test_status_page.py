"""What luigid's page shows of a running job, and what it takes from there."""

from __future__ import annotations

import os
import re
import shutil
import time

import luigi
import luigi.interface
import luigi.scheduler
import pytest

import luigi_sshjob
from luigi_sshjob import RemoteContext
from luigi_sshjob import text as text_module
from luigi_sshjob.errors import ConfigurationError, HostUnreachable
from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.status import StatusReporter
from luigi_sshjob.tasks.tracking import TrackingUrl

from support import processes
from support.browser import NoBrowser, Page
from support.luigi_command import answers, ask, finished
from support.recording_tasks import Retried
from support.sample_tasks import Align, Slow

HOSTILE = (
    b"reading /data/a & b\n\x1b[32mok\x1b[0m \xff\0 \x1b]0;title\x07\n  10%\r  99%\n"
    b"<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">\n"
    b"a &lt; b, https://x/?a=1&b=2\n"
)
HARMLESS = [
    "reading /data/a & b",
    "ok \N{REPLACEMENT CHARACTER}\\x00 ",
    "  99%",
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">",
    "a &lt; b, https://x/?a=1&b=2",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        shown = Page(tmp_path_factory.mktemp("browser"))
    except NoBrowser as reason:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(reason))
    yield shown
    shown.close()


@pytest.fixture
def scheduler(luigid) -> list[str]:
    """Arguments that lead to luigid."""
    return ["--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1", "--workers", "2"]


@pytest.mark.parametrize("remote_jobs", ["a process for each"], indirect=True)
def test_a_job_is_seen_followed_and_ended_on_the_page(
    browser, host, text_folder, luigid, scheduler, start_luigi, luigi_cfg, tmp_path
):
    ssh_config = tmp_path / "ssh_config"
    ssh_config.write_text(host.ssh_config.read_text().replace(f"Host {host.alias}\n", "Host gpu01\n"))
    settings = luigi_cfg.path.read_text().replace(str(host.ssh_config), str(ssh_config))
    tracking = "http://grafana.invalid/d/node?var-host={host}&job={id}&on={directory}"
    luigi_cfg.path.write_text(f"{settings}tracking_url={tracking}\n")
    host.run("sh", "-c", f"cat >{text_folder}/hostile", input=HOSTILE)
    worker = start_luigi("Align", "--host", "gpu01", "--folder", text_folder, *scheduler)
    task_id = Align(host="gpu01", folder=text_folder).task_id
    processes.wait_until(
        lambda: "&b=2" in (ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"] or ""), "the status"
    )

    browser.open(luigid)
    assert browser.text(".worker-table .progress-bar") == "40%"
    link = browser.find(".worker-table a[title='Track Progress']").get_attribute("href")
    assert re.fullmatch(
        rf"http://grafana\.invalid/d/node\?var-host=gpu01&job={task_id}%2F1&on=%2F\S+%2Fjobs%2F{task_id}%2F1", link
    )
    browser.find(".worker-table .statusMessage").click()
    shown = "#statusMessageModal pre"
    processes.wait_until(lambda: "The whole log:" in browser.text(shown), "the dialog")
    first, progress, *rest = browser.text(shown).replace("\u2060", "").split("\n")
    assert re.fullmatch(r"running on gpu01 for \d+ s", first)
    assert progress == "40 % aligning reads"
    assert rest == ["", "The last lines of its log:", *HARMLESS, "", *rest[-2:]]
    assert rest[-1] == f"luigi-sshjob logs gpu01 {task_id}/1"
    assert browser.made_of(shown) == []

    # the dialog follows by itself
    host.run("touch", f"{text_folder}/go")
    processes.wait_until(lambda: "part 7 of 10" in browser.text(shown), "the next lines")
    processes.wait_until(lambda: browser.text("#statusMessageModal .progress-bar") == "60%", "the progress")
    picture = tmp_path / "page.png"
    browser.driver.save_screenshot(str(picture))
    if os.environ.get("SSHJOB_SCREENSHOT"):
        shutil.copy(picture, os.environ["SSHJOB_SCREENSHOT"])
    browser.find("#statusMessageModal .modal-footer button").click()
    browser.gone("#statusMessageModal")

    assert browser.send("tail 10") == "\n".join(
        [
            *HARMLESS[-2:],
            "reference GRCh38, 25 sequences",
            *(f"part {part} of 10: 5000000 reads, 97.{part} % mapped" for part in range(1, 7)),
            "part 7 of 10: ",
        ]
    )
    assert browser.made_of("#schedulerMessageResponse pre > div") == []
    assert browser.driver.title == "Luigi Task Visualiser"
    assert browser.send("cancel").startswith(f"{task_id}/1 was cancelled: by ")
    assert "it was cancelled" in finished(worker, 30)
    # of what luigid's page names elsewhere, a font, nothing came
    assert [url for url in browser.loaded() if not url.startswith(f"http://127.0.0.1:{luigid}/")] == []
    assert ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"].startswith("was cancelled: by ")


def test_an_unreachable_host_is_in_the_status_and_in_responses(
    proxy, host, text_folder, luigid, scheduler, start_luigi, luigi_cfg, tmp_path
):
    quickly = "request_timeout=3\nconnect_timeout=3\nconnect_attempts=1\nkeepalive_interval=2\nkeepalive_count=2\n"
    text = luigi_cfg.path.read_text().replace(str(host.ssh_config), str(tmp_path / "ssh_config_of_the_wire"))
    luigi_cfg.path.write_text(text + quickly)
    worker = start_luigi("Slow", "--host", host.alias, "--folder", text_folder, *scheduler)
    task_id = Slow(host=host.alias, folder=text_folder).task_id

    def status() -> str:
        return ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"] or ""

    processes.wait_until(lambda: "working on it" in status(), "the status")
    proxy.silence()
    said = rf"{host.alias} (does not|has not) respond.*; its jobs keep running\n.+\n\nThe last known status:\nrunning"
    processes.wait_until(lambda: re.match(said, status()), "the word of silence")
    (answer,) = answers(luigid, task_id, "tail 3")
    assert answer.startswith(f"host {host.alias}, job {task_id}/1, while ")
    assert "\nNext: " in answer
    proxy.restore()
    processes.wait_until(lambda: status().startswith(f"running on {host.alias} for "), "the word that it is back")
    host.run("touch", f"{text_folder}/go")
    finished(worker)
    assert status().startswith("succeeded with exit code 0\n")


def test_a_next_attempt_is_tracked_takes_messages_and_is_not_one_more_than_the_task_says(
    host, text_folder, tmp_path, remote_jobs
):
    """Luigi's own report of a tracking URL or of a failure would make the scheduler forget all three."""
    known = luigi.scheduler.Scheduler(retry_delay=0, prune_on_get_work=True)
    seen = []

    class Again(Retried):
        def on_failure(self, exception):
            task = known.task_list(status="RUNNING", upstream_status="")[self.task_id]
            seen.append((task["tracking_url"], task["accepts_messages"]))
            return super().on_failure(exception)

    class Schedulers(luigi.interface._WorkerSchedulerFactory):
        def create_local_scheduler(self):
            return known

    notes = tmp_path / "notes"
    # a third would succeed
    task = Again(host.alias, text_folder, str(notes), 0, "test $(grep -c + <ledger) -gt 2")
    luigi.configuration.get_config().set("worker", "keep_alive", "true")
    luigi.configuration.get_config().set("worker", "wait_interval", "0.1")
    luigi.configuration.get_config().set("worker", "wait_jitter", "0")
    options = {"local_scheduler": True, "worker_scheduler_factory": Schedulers()}
    if remote_jobs is None:
        luigi.build([task], **options)
    else:
        luigi_sshjob.build([task], remote_jobs=remote_jobs, **options)
    assert host.run("cat", f"{text_folder}/ledger") == "+ 0\n-\n" * 2
    assert seen == [(f"http://example.invalid/{task.task_id}/{attempt}", True) for attempt in (1, 2)]


# -- what is said, and how often


class Recorder:
    """What a task is told to tell the scheduler, and when."""

    def __init__(self):
        self.now = 0.0
        self.told: list[tuple[float, object]] = []

    def set_status_message(self, text):
        self.told.append((self.now, text))

    def set_progress_percentage(self, percentage):
        self.told.append((self.now, percentage))

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
    times = [now for now, said in recorder.told if isinstance(said, str)]
    # the last change as soon as it may be; then that time has passed
    assert times == [0, 3, 6, 9, 12]
    assert recorder.told[-1][1].endswith("\nline 98\nline 99")
    assert [said for _, said in recorder.told if isinstance(said, int)] == [0, 30, 60, 90, 99]
    recorder.now = 22.0
    reporter.observe(JobStatus(State.RUNNING, progress="99"))
    assert recorder.told[-1][1].startswith("running on box for at least 22 s\n99 %\n")


@pytest.mark.parametrize("progress", ["9" * 400, "100.5 %", "٣٠٠"])
def test_a_progress_beyond_all_bounds_is_a_whole_one_and_ends_no_watch(progress):
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.RUNNING, progress=progress))
    reporter.conclude(Outcome("succeeded", 0), "")
    assert [said for _, said in recorder.told if isinstance(said, int)] == [100]


def test_the_age_of_a_job_is_measured_by_its_host():
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.QUEUED, "Slurm job 4711, Priority"))
    assert recorder.told[-1][1].startswith("queued on box\nSlurm job 4711, Priority")
    recorder.now = 90.0
    reporter.observe(JobStatus(State.QUEUED, "Slurm job 4711, Priority"))
    assert recorder.told[-1][1].startswith("queued on box for at least 1 min 30 s\nSlurm job 4711, Priority")
    recorder.now = 100.0
    reporter.observe(JobStatus(State.RUNNING, running_for=3 * 86400 + 4 * 3600, log=b"one\n"))
    recorder.now = 100.0 + 3600
    reporter.observe(JobStatus(State.RUNNING))
    assert recorder.told[-1][1].startswith("running on box for 3 d 5 h\n")
    assert "\nThe last lines of its log (nothing new for 1 h):\none" in recorder.told[-1][1]
    reporter.conclude(Outcome("failed", 7, reason="the disk is full"), "")
    assert recorder.told[-1][1].startswith("failed with exit code 7: the disk is full\non box after 3 d 5 h\n")


def test_an_unreachable_host_is_reported_at_once_and_its_return_soon():
    recorder = Recorder()
    reporter = recorder.reporter()
    reporter.observe(JobStatus(State.RUNNING, running_for=60))
    for second in range(1, 15):
        recorder.now = float(second)
        reporter.report_unreachable(HostUnreachable("the wire is cut"))
    recorder.now = 14.5
    reporter.observe(JobStatus(State.RUNNING))
    first, second, back = [said for _, said in recorder.told[1:]]
    status = "its jobs keep running\nthe wire is cut\n\nThe last known status:\nrunning on box for 1 min"
    assert first.startswith(f"box does not respond; {status}")
    assert second.startswith(f"box has not responded for 10 s; {status}")
    assert back.startswith("running on box for 1 min 14 s")
    assert [now for now, _ in recorder.told] == [0, 1, 11, 14.5]


def test_a_host_that_is_silent_from_the_beginning_is_said_too():
    recorder = Recorder()
    recorder.reporter().report_unreachable(HostUnreachable("no route"))
    said = "box does not respond; the job will be submitted, or found, when it does\nno route"
    assert recorder.told == [(0.0, said)]


def test_what_a_terminal_or_a_browser_would_obey_is_shown_instead():
    line = "\x1b[1;31mred\x1b[0m\x1b(B \x07 \u202egnp.exe \x9b \ud800 tab\there \x1b]8;;http://x\x1b\\link"
    assert text_module.printable_line(line, 100) == r"red \x07 \u202egnp.exe \x9b \ud800 tab" + "\there link"
    assert text_module.printable_line("x" * 300, 200) == "x" * 200 + " … (100 more characters)"
    assert text_module.escape_response("<b>&lt;\"'") == "&lt;b&gt;&amp;lt;\"'"
    # nothing is put into what is harmless
    harmless = "a < b && c <3 -> x&y;z https://x/?a=1&b=2"
    assert text_module.escape_status(harmless) == harmless
    assert text_module.escape_status("<b></b><!--<?&lt;&#60;&copy") == (
        "<\u2060b><\u2060/b><\u2060!--<\u2060?&\u2060lt;&\u2060#60;&\u2060copy"
    )


def test_what_is_not_understood_is_answered_without_the_host(luigi_cfg):
    task = Slow(host="nowhere.invalid", folder="x")
    for message in ("hello", "", "cancel it", "status?"):
        assert task.on_scheduler_message(message).endswith("\n  cancel   end the job with all its processes")


# -- where a job can be tracked


@pytest.mark.parametrize(
    "pattern",
    [
        *("http://x/{", "http://x/}", "http://x/{jobs}", "http://x/{}", "http://x/{0}", "http://x/{host.name}"),
        *("http://x/{host!r}", "http://x/{host:>9}", "http://x/{host[0]}", "http://x/{job"),
        *("grafana/d/{host}", "javascript:alert({job})", "ftp://x/{job}", "http:///{host}", "http://[x/{host}"),
        *("http://x/ {job}", "http://x/\n{job}", 42),
    ],
)
def test_a_tracking_url_that_is_none_is_refused_before_anything_is_asked_of_the_host(pattern, luigi_cfg):
    class Odd(Slow):
        tracking_url = pattern

    # a name that nothing could be asked of
    with pytest.raises(
        ConfigurationError,
        match=r"host nowhere\.invalid, job Odd_.*: tracking_url is not a valid URL pattern: .*\n*.*Next: ",
    ):
        Odd(host="nowhere.invalid", folder="x").run()


def test_a_tracking_url_is_quoted():
    url = TrackingUrl("https://x/{host}/{{{key}}}?{job}&{id}#{attempt}&{directory}&{task_id}", "gpu01", "A b/ü")
    job = JobRef("me@gpu01:22", "A_b", 3, "/home/m e/&?#\udcff")
    assert url.of(job) == ("https://x/gpu01/{A_b}?A_b%2F3&A_b%2F3#3&%2Fhome%2Fm%20e%2F%26%3F%23%FF&A%20b%2F%C3%BC")


# -- asked of the host


def test_a_tail_is_the_end_of_the_log_as_it_is_now_and_never_all_of_it(bench):
    command = (
        "yes 0123456789 | head -c 3000000; printf 'x\\n%s\\n' \"$(yes y | head -c 40000 | tr -d '\\n')\"; echo end"
    )
    ref = bench.submit(f"{command}; sleep 100").job
    processes.wait_until(lambda: bench.control.tail(ref, 1, 10) == b"end\n", "the log")
    context = RemoteContext(bench.host.alias)
    jobs = HostJobs(context.connection, bench.base)
    job = Job(ref, context, jobs, jobs.retry())
    assert job.tail(2) == ["…" + "y" * 1999, "end"]
    assert job.tail(400)[0] == "0123456789"
    assert len(bench.control.tail(ref, 500, 1 << 17)) < 1 << 17
    assert len(bench.control.tail(ref, 500, 1000)) == 1000


def test_the_time_a_job_has_run_is_told_by_the_host(bench):
    begin = time.monotonic()
    ref = bench.submit("sleep 100").job
    told: list[int] = []

    def two_seconds() -> bool:
        told.append(bench.control.status(ref).running_for or 0)
        return told[-1] >= 2

    processes.wait_until(two_seconds, "two seconds there")
    # of either clock's seconds one may have just begun
    assert told[-1] <= time.monotonic() - begin + 2
