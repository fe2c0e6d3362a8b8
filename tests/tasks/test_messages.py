"""Messages between a job and a real luigid, and the settings that forbid them."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob.cli.main import main
from luigi_sshjob.tasks.messages import REFUSAL, sender

from support import processes
from support.luigi_command import answers, ask, finished
from support.sample_tasks import Align


@pytest.fixture
def start(host, text_folder, luigid, start_luigi, luigi_cfg):
    """Return a function that starts a job with these settings, and returns its task and the worker."""

    def start(**settings: str):
        luigi_cfg.path.write_text(
            luigi_cfg.path.read_text() + "".join(f"{name}={value}\n" for name, value in settings.items())
        )
        scheduler = ["--scheduler-port", str(luigid), "--scheduler-host", "127.0.0.1", "--workers", "2"]
        host.run("sh", "-c", f"echo hello there >{text_folder}/hostile")
        worker = start_luigi("Align", "--host", host.alias, "--folder", text_folder, *scheduler)
        task = Align(host=host.alias, folder=text_folder)
        processes.wait_until(lambda: "hello there" in worker.log.read_text(), "the job's log")
        return task, worker

    return start


def test_a_cancel_from_the_page_is_recorded_as_coming_from_there(luigid, start, host, capsys):
    task, worker = start()
    processes.wait_until(lambda: "Messages: status, tail N, cancel" in status(luigid, task), "the messages in it")
    (response,) = answers(luigid, task.task_id, "cancel")
    came = rf"was cancelled: by scheduler message via luigid at 127.0.0.1:{luigid}, executed by \S+@\S+ \(process \d+\)"
    assert re.search(came, response)
    assert re.search(f"it {came}", finished(worker, 30))
    assert main(["show", host.alias, task.task_id]) == 0
    assert re.search(came.removeprefix("was cancelled: "), capsys.readouterr().out)


def test_a_kill_by_the_command_line_is_not_recorded_as_coming_from_the_page(luigid, start, host):
    task, worker = start()
    assert main(["kill", host.alias, task.task_id]) == 0
    text = finished(worker, 30)
    assert re.search(r"it was cancelled: by \S+@\S+ \(process \d+\)", text)
    assert "scheduler message" not in text


def test_with_accepts_messages_false_a_message_does_nothing_and_the_response_says_so(
    luigid, start, host, text_folder, remote_jobs
):
    task, worker = start(accepts_messages="false")
    running = ask(luigid, "task_list", status="RUNNING")[task.task_id]
    # the page shows no button
    assert running["accepts_messages"] is False
    if remote_jobs is None:
        # Luigi's own worker discards it without a response
        ask(luigid, "send_scheduler_message", worker=running["worker_running"], task=task.task_id, content="cancel")
    else:
        assert answers(luigid, task.task_id, "cancel", "status") == [REFUSAL, REFUSAL]
    assert "Messages:" not in status(luigid, task)
    host.run("touch", f"{text_folder}/go")
    processes.wait_until(lambda: "part 6 of 10" in worker.log.read_text(), "the job to go on")
    assert main(["kill", host.alias, task.task_id]) == 0
    assert "scheduler message via" not in finished(worker, 30)


def test_with_send_messages_false_luigid_receives_nothing_of_a_job(luigid, start, host, text_folder):
    task, worker = start(send_messages="false", tracking_url="http://example.invalid/{id}")
    host.run("touch", f"{text_folder}/go")
    processes.wait_until(lambda: "part 6 of 10" in worker.log.read_text(), "the job's progress")
    # the response shows that luigid has received what was sent before
    (response,) = answers(luigid, task.task_id, "status")
    assert response.startswith("running on ")
    assert not status(luigid, task)
    assert ask(luigid, "get_task_progress_percentage", task_id=task.task_id)["progressPercentage"] is None
    assert not ask(luigid, "task_list", status="RUNNING")[task.task_id]["tracking_url"]
    answers(luigid, task.task_id, "cancel")
    finished(worker, 30)
    error = ask(luigid, "fetch_error", task_id=task.task_id)["error"]
    assert "it was cancelled" in error
    assert "part 6 of 10" not in error
    assert not status(luigid, task)


def test_the_sender_has_no_password_of_the_scheduler_and_no_address_of_a_local_one():
    class Message:
        class _scheduler:
            _url = "https://ann:secret@luigid.example.org:8082/luigi"

    assert sender(Message()).startswith("scheduler message via luigid at luigid.example.org:8082, executed by ")
    assert sender("cancel").startswith("scheduler message, executed by ")


def status(luigid: int, task: Align) -> str:
    return ask(luigid, "get_task_status_message", task_id=task.task_id)["statusMessage"] or ""
