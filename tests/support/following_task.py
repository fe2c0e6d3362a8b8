"""A task that records the events of its job."""

from __future__ import annotations

import threading

from luigi_sshjob import Job, JobEvent

from support.recording_tasks import Noted, note


class Followed(Noted):
    """Creates a file on the host when its job has started. Each of its handlers ends with an error."""


def _recorder(name: str):
    def handler(task: Followed, job: Job) -> None:
        note(task, f"{name} {job.id.removeprefix(task.task_id)}")
        if threading.current_thread() is not threading.main_thread():
            note(task, f"not called by the main thread: {name}")
        if name == "STARTED":
            task.remote_target(f"{task.folder}/started-{task.number}").open("w").close()
        raise ValueError("an error of a handler")

    return handler


for _name in ("SUBMITTED", "ATTACHED", "QUEUED", "STARTED", "LOST"):
    Followed.event_handler(getattr(JobEvent, _name))(_recorder(_name))
