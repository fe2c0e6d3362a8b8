"""The `luigi` command on the tasks of support/sample_tasks.py, as a user would start it."""

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


class Luigi(subprocess.Popen[bytes]):
    """Runs in a session of its own; all it says is in `log`. With `remote_jobs` it is `luigi-sshjob run`."""

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
        """It and the processes of its tasks, at once."""
        processes.kill([member.pid for member in processes.family(self.pid)])
        self.wait()


def finished(process: Luigi, status: int = 0) -> str:
    """Its log, when it has ended with this exit status."""
    found = process.wait(120)
    text = process.log.read_text()
    assert found == status, text
    return text


def ask(port: int, method: str, **data: object) -> dict[str, Any]:
    """What luigid answers."""
    url = f"http://127.0.0.1:{port}/api/{method}"
    body = f"data={json.dumps(data)}".encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return json.load(answer)["response"]


def answers(port: int, task_id: str, *messages: str) -> list[str]:
    """What a running task answers to messages that are sent to it together, by way of luigid."""
    worker = ask(port, "task_list", status="RUNNING")[task_id]["worker_running"]
    waiting = [ask(port, "send_scheduler_message", worker=worker, task=task_id, content=each) for each in messages]
    said: dict[str, str] = {}

    def answered() -> bool:
        for message in (sent["message_id"] for sent in waiting):
            # luigid tells each once
            reply = ask(port, "get_scheduler_message_response", task_id=task_id, message_id=message)["response"]
            said.update({message: reply} if reply else {})
        return len(said) == len(messages)

    processes.wait_until(answered, f"the answers to {messages}")
    return [said[sent["message_id"]] for sent in waiting]
