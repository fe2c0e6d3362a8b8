"""Runs a task in this process, which waits until its job has ended."""

from __future__ import annotations

from concurrent.futures import wait
from typing import Any

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.jobs.pool import Superseded
from luigi_sshjob.tasks import choosing, hosts, messages, signals, tracking
from luigi_sshjob.tasks.choice_reporter import choice_reporter
from luigi_sshjob.tasks.retries import Again
from luigi_sshjob.tasks.run import JobRun

_STEP = 0.5  # seconds between two reports to the scheduler


def run(task: Any) -> None:
    """Submits the job of the task or attaches to it, waits for its end and collects the outcome."""
    tracking.keep_task_settings(task)
    superseded: dict[str, int] = {}
    with hosts.until_end(task):
        while True:
            _choose_host(task, superseded)
            try:
                _run_there(task)
            except Superseded as found:
                superseded[str(hosts.bound_host(task))] = found.attempt
            else:
                return


def _choose_host(task: Any, superseded: dict[str, int]) -> None:
    errors: list[HostUnreachable] = []
    request = choosing.request_for(task, superseded, errors.append)
    if request is None:
        return
    report = choice_reporter(task)
    try:
        while not wait([request.done], _STEP).done:
            if errors:
                report(errors[-1])
            messages.answer_all(task, accepted=task.accepts_messages)
    finally:
        request.abandoned = True
    choosing.use(task, request)


def _run_there(task: Any) -> None:
    run: JobRun = task.prepare_run()
    cancels = run.options.on_worker_exit == "cancel"
    with signals.cancel_on_exit(lambda: run.cancel("its worker ends"), enabled=cancels) as check_worker:

        def while_waiting() -> None:
            check_worker()
            run.answer_messages()

        def on_retry(error: HostUnreachable) -> None:
            run.report_unreachable(error)
            while_waiting()

        run.retry.on_retry = on_retry
        while True:
            again = None
            try:
                job = run.submit()
                if job is None or run.finish(run.monitor.wait(job, run.observe, while_waiting)):
                    return
            except Again as caught:
                # what follows may raise errors, which must not be chained to it
                again = caught
            if again:
                again.wait(while_waiting, lambda: run.submitted.cancelled)
                run.restart(again.previous)
