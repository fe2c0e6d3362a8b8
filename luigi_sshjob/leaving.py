"""What becomes of a job when the process that watches it is told to end."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from luigi_sshjob.errors import SSHJobError

logger = logging.getLogger("luigi-interface")


class _ToldToEnd(BaseException):
    """SIGTERM, or the end of the worker that started this process."""


@contextlib.contextmanager
def nothing_is_done() -> Iterator[Callable[[], None]]:
    """The job goes on; the next run attaches to it."""
    yield lambda: None


@contextlib.contextmanager
def cancelling(cancel: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """SIGTERM, Ctrl-C or the death of Luigi's worker cancel the job before they end this process.

    Yields a function to be called now and then: that the worker was killed outright is seen there, not signalled.
    """
    # only the main thread may set, and gets, signals
    signals = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _tell) if signals else None
    try:
        yield _check_worker
    except (_ToldToEnd, KeyboardInterrupt) as told:
        if signals:
            # Luigi's worker says it once more when it ends itself
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            cancel()
        except SSHJobError as error:
            logger.warning("the job was not cancelled: %s", error)
        if signals and isinstance(told, _ToldToEnd):
            # as if nobody had been in between
            signal.signal(signal.SIGTERM, before)
            os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        if signals:
            signal.signal(signal.SIGTERM, before)


def _tell(number: int, frame: object) -> None:
    raise _ToldToEnd


def _check_worker() -> None:
    worker = multiprocessing.parent_process()
    if worker is not None and not worker.is_alive():
        raise _ToldToEnd
