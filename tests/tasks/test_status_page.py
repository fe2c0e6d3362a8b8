"""A running job on luigid's page, in a real browser."""

from __future__ import annotations

import os
import re

import luigi
import luigi.interface
import luigi.scheduler
import pytest

import luigi_sshjob

from support import processes
from support.browser import NoBrowser, Page
from support.failing_tasks import CallVariants
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
    "ok \N{REPLACEMENT CHARACTER}\\x00 \\x1b]0;title\\x07",
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


@pytest.fixture
def gpu01(host, luigi_cfg, tmp_path) -> str:
    """A name for the host that looks well in a picture."""
    ssh_config = tmp_path / "ssh_config"
    ssh_config.write_text(host.ssh_config.read_text().replace(f"Host {host.alias}\n", "Host gpu01\n"))
    luigi_cfg.path.write_text(luigi_cfg.path.read_text().replace(str(host.ssh_config), str(ssh_config)))
    return "gpu01"


@pytest.mark.parametrize("remote_jobs", ["a process for each"], indirect=True)
def test_a_job_is_seen_followed_and_ended_on_the_page(
    browser, host, gpu01, text_folder, luigid, scheduler, start_luigi, luigi_cfg, tmp_path
):
    tracking = "http://grafana.invalid/d/node?var-host={host}&job={id}&on={directory}"
    luigi_cfg.path.write_text(f"{luigi_cfg.path.read_text()}tracking_url={tracking}\n")
    host.run("sh", "-c", f"cat >{text_folder}/hostile", input=HOSTILE)
    worker = start_luigi("Align", "--host", gpu01, "--folder", text_folder, *scheduler)
    task_id = Align(host=gpu01, folder=text_folder).task_id
    processes.wait_until(
        lambda: "&b=2" in (ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"] or ""), "the status"
    )
    # may follow with the next message; the list on the page is not updated
    processes.wait_until(
        lambda: ask(luigid, "get_task_progress_percentage", task_id=task_id)["progressPercentage"] == 40, "the progress"
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
    logs = ["The whole log:", f"luigi-sshjob logs gpu01 {task_id}/1"]
    last = ["", *logs, "", "Messages: status, tail N, cancel"]
    assert rest == ["", "The last lines of its log:", *HARMLESS, *last]
    assert browser.made_of(shown) == []

    # the dialog updates automatically
    host.run("touch", f"{text_folder}/go")
    processes.wait_until(lambda: "part 7 of 10" in browser.text(shown), "the next lines")
    processes.wait_until(lambda: browser.text("#statusMessageModal .progress-bar") == "60%", "the progress")
    browser.picture(tmp_path / "page.png", "SSHJOB_SCREENSHOT")
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
    assert browser.send("cancel").startswith(f"{task_id}/1 was cancelled: by scheduler message via luigid at ")
    assert "it was cancelled" in finished(worker, 30)
    # of what luigid's page names elsewhere, a font, nothing came
    assert [url for url in browser.loaded() if not url.startswith(f"http://127.0.0.1:{luigid}/")] == []
    assert ask(luigid, "get_task_status_message", task_id=task_id)["statusMessage"].startswith("was cancelled: by ")


@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_the_error_dialog_shows_the_cause_without_scrolling(
    browser, gpu01, text_folder, luigid, scheduler, start_luigi, tmp_path
):
    finished(start_luigi("--module", "support.failing_tasks", "CallVariants", "--host", gpu01, *scheduler), 30)
    browser.open(luigid, tab="tasks")
    browser.find(".showError").click()
    shown = "#errorModal pre"
    browser.picture(tmp_path / "error.png", "SSHJOB_SCREENSHOT_OF_ERROR")
    job = f"{CallVariants(host=gpu01).task_id}/1"
    # the page does not wrap lines
    assert browser.shows(shown, f"host gpu01, job {job}:\n    it failed with exit code 1\nThe last lines of its log:\n")
    assert browser.shows(shown, "  | chr8: 5000000 reads, 97.8 % mapped\n  | ValueError: chr9 has no reads\n")
    assert browser.shows(shown, f"`luigi-sshjob logs gpu01 {job}`")
    assert not browser.shows(shown, "chr1")


def test_an_unreachable_host_is_in_the_status_and_in_responses(
    proxy, host, text_folder, luigid, scheduler, start_luigi, luigi_cfg, tmp_path
):
    quickly = "request_timeout=3\nconnect_timeout=3\nconnect_attempts=1\nkeepalive_interval=2\nkeepalive_count=2\n"
    text = luigi_cfg.path.read_text().replace(str(host.ssh_config), str(tmp_path / "ssh_config_of_the_proxy"))
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


def test_the_response_to_an_unknown_message_needs_no_host(luigi_cfg):
    task = Slow(host="nowhere.invalid", folder="x")
    for message in ("hello", "", "cancel it", "status?"):
        assert task.on_scheduler_message(message).endswith("\n  cancel   end the job with all its processes")
