"""Cancels jobs before SIGTERM, Ctrl-C or the death of Luigi's worker ends this process."""

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

_DEFAULT_HANDLERS: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


class Terminated(BaseException):
    """Raised in the main thread by SIGTERM, or when the worker that started this process has died."""


@contextlib.contextmanager
def cancel_on_exit(cancel: Callable[[], Any], *, enabled: bool = True) -> Iterator[Callable[[], None]]:
    """Calls `cancel`, if `enabled`, when SIGTERM, Ctrl-C or the death of Luigi's worker ends the block.

    Yields a function that raises `Terminated` if the worker has died: no signal reports that it was killed, so the
    block has to call it from time to time.
    """
    if not enabled:
        yield lambda: None
        return
    # only the main thread may set signal handlers, and only there do they run
    in_main_thread = _in_main_thread()
    previous = signal.signal(signal.SIGTERM, _raise_terminated) if in_main_thread else None
    try:
        yield _check_worker
    except (Terminated, KeyboardInterrupt) as reason:
        if in_main_thread:
            # Luigi's worker sends it again when it ends
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            cancel()
        except SSHJobError as error:
            logger.warning("the job was not cancelled: %s", error)
        if in_main_thread and isinstance(reason, Terminated):
            _terminate_process(previous)
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)


class TerminationSignals:
    """Turns SIGTERM and SIGINT into `Terminated` and KeyboardInterrupt in the main thread.

    `check` raises the exception again, because Luigi and users' code may catch the first one: Luigi catches everything
    that an event handler raises.
    """

    def __init__(self) -> None:
        self._received: type[BaseException] | None = None
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Sets the handlers, in the main thread only; a signal that already has a handler of its own keeps it."""
        if not _in_main_thread():
            return
        for number, default in _DEFAULT_HANDLERS.items():
            if signal.getsignal(number) is default:
                self._previous[number] = signal.signal(number, self._receive)

    def check(self) -> None:
        """Raises the exception of the last signal again."""
        if self._received:
            raise self._received

    def restore(self, reason: type[BaseException] | None) -> None:
        """Restores the handlers; after `Terminated`, SIGTERM is ignored until `terminate_process`."""
        for number, previous in self._previous.items():
            ignored = number == signal.SIGTERM and reason is Terminated
            signal.signal(number, signal.SIG_IGN if ignored else previous)

    def terminate_process(self) -> None:
        """Ends the process with SIGTERM, as the signal would have done without a handler."""
        _terminate_process(self._previous[signal.SIGTERM])

    def _receive(self, number: int, _frame: object) -> None:
        self._received = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        raise self._received


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise_terminated(_number: int, _frame: object) -> None:
    raise Terminated


def _check_worker() -> None:
    worker = multiprocessing.parent_process()
    if worker is not None and not worker.is_alive():
        raise Terminated


def _terminate_process(handler: Any) -> None:
    signal.signal(signal.SIGTERM, handler)
    os.kill(os.getpid(), signal.SIGTERM)


def _after_fork_in_child() -> None:
    # the process of a local task is ended by signals as Luigi expects
    for number, default in _DEFAULT_HANDLERS.items():
        if isinstance(getattr(signal.getsignal(number), "__self__", None), TerminationSignals):
            signal.signal(number, default)


os.register_at_fork(after_in_child=_after_fork_in_child)
