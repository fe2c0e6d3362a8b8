"""Runs the `luigi` command with the tasks of support/sample_tasks.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from support import processes

TESTS = Path(__file__).parents[1]
RETURN_CODES = (
    *("--retcode-task-failed", "30", "--retcode-scheduling-error", "35", "--retcode-not-run", "25"),
    *("--retcode-unhandled-exception", "4"),
)
"""For a `luigi` that is to fail if any of its tasks has not succeeded."""


class Luigi(subprocess.Popen[bytes]):
    """A `luigi` process in its own session, or `luigi-sshjob run` with `remote_jobs`; `log` has its output."""

    def __init__(self, log: Path, *arguments: str, remote_jobs: int | None = None):
        self.log = log
        program = ["luigi"] if remote_jobs is None else ["luigi_sshjob.cli", "run", "--remote-jobs", str(remote_jobs)]
        with log.open("wb") as out:
            super().__init__(
                [sys.executable, "-m", *program, "--module", "support.sample_tasks", *arguments, "--no-lock"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
                start_new_session=True,
            )

    def kill_all(self) -> None:
        """Kill it together with the processes of its tasks."""
        processes.kill([member.pid for member in processes.family(self.pid)])
        self.wait()


def finished(process: Luigi, status: int = 0) -> str:
    """Wait for the process, check its exit status and return its log."""
    returned = process.wait(120)
    text = process.log.read_text()
    assert returned == status, text
    return text


def ask(port: int, method: str, **data: object) -> dict[str, Any]:
    """Call a method of luigid's API and return its response."""
    url = f"http://127.0.0.1:{port}/api/{method}"
    body = f"data={json.dumps(data)}".encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as response:
        return json.load(response)["response"]


def answers(port: int, task_id: str, *messages: str) -> list[str]:
    """Send messages to a running task through luigid, all at once, and return its responses."""
    worker = ask(port, "task_list", status="RUNNING")[task_id]["worker_running"]
    waiting = [ask(port, "send_scheduler_message", worker=worker, task=task_id, content=each) for each in messages]
    replies: dict[str, str] = {}

    def all_replied() -> bool:
        for message in (sent["message_id"] for sent in waiting):
            # luigid returns each response once
            reply = ask(port, "get_scheduler_message_response", task_id=task_id, message_id=message)["response"]
            replies.update({message: reply} if reply else {})
        return len(replies) == len(messages)

    processes.wait_until(all_replied, f"the responses to {messages}")
    return [replies[sent["message_id"]] for sent in waiting]
