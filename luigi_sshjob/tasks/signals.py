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


class ToldToEnd(BaseException):
    """SIGTERM."""


class TerminationSignals:
    """Raises `ToldToEnd` or KeyboardInterrupt where the main thread is, and again with `attend`: Luigi catches all that
    comes out of the handlers of an event, and so may what users have written.
    """

    def __init__(self) -> None:
        self._told: type[BaseException] | None = None
        self._before: dict[int, Any] = {}

    def open(self) -> None:
        """Others may have plans of their own with a signal; only the main thread may set, and gets, any."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, usual in _USUAL.items():
            if signal.getsignal(number) is usual:
                self._before[number] = signal.signal(number, self._hear)

    def attend(self) -> None:
        """Raises once more what was raised."""
        if self._told:
            raise self._told

    def deafen(self, kind: type[BaseException] | None) -> None:
        """The worker ends, by an error of this kind: being told once is enough."""
        for number, before in self._before.items():
            once = number == signal.SIGTERM and kind is ToldToEnd
            signal.signal(number, signal.SIG_IGN if once else before)

    def end_as_told(self) -> None:
        """Ends the process by SIGTERM, as if nobody had been in between."""
        signal.signal(signal.SIGTERM, self._before[signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)

    def _hear(self, number: int, frame: object) -> None:
        self._told = ToldToEnd if number == signal.SIGTERM else KeyboardInterrupt
        raise self._told


_USUAL: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


def _after_fork_in_child() -> None:
    # the process of a local task ends as ever
    for number, usual in _USUAL.items():
        if getattr(signal.getsignal(number), "__func__", None) is TerminationSignals._hear:
            signal.signal(number, usual)


os.register_at_fork(after_in_child=_after_fork_in_child)
