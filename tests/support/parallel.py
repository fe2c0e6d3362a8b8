"""Commands in several processes at the same time."""

from __future__ import annotations

import multiprocessing
from typing import Any

from luigi_sshjob import RemoteContext

_fork = multiprocessing.get_context("fork")


def in_processes(count: int, context: RemoteContext) -> list[object]:
    """Run a command in each of `count` processes; returns their outputs or errors."""
    start, results = _fork.Event(), _fork.Queue()
    workers = [_fork.Process(target=_run_after, args=(start, context, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    start.set()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(30)
    return found


def _run_after(start: Any, context: RemoteContext, results: Any) -> None:
    start.wait()
    try:
        results.put(context.check_output(["sleep 0.2; echo hi"]))
    except Exception as error:  # noqa: BLE001  # the parent checks it
        results.put(error)
