"""SIGTERM and Ctrl-C: a worker that is told to end ends, whatever runs in its main thread at that moment."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any


class ToldToEnd(BaseException):
    """SIGTERM."""


class Ears:
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
        if getattr(signal.getsignal(number), "__func__", None) is Ears._hear:
            signal.signal(number, usual)


os.register_at_fork(after_in_child=_after_fork_in_child)
