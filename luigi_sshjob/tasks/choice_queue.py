"""Tasks that wait for the choice of a host, and the thread that chooses for those that are due."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.jobs.pool import Plan
from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.ssh.local.starting import start_thread

_TOGETHER = 100  # tasks in one request, which takes a moment for each
_STEP = 1.0  # seconds between two looks whether anybody still waits


@dataclasses.dataclass(eq=False)
class Request:
    """A task that waits for the choice of a host.

    `superseded` are the attempts after which a new one is wanted, by host.
    """

    name: str
    key: str
    slots: Mapping[str, Slots]
    """What it needs, by host."""
    superseded: Mapping[str, int]
    timeout: float
    on_wait: Callable[[HostUnreachable], None]
    """Called by another thread while no host can be used."""
    done: Future[Plan] = dataclasses.field(default_factory=Future)
    since: float = dataclasses.field(default_factory=time.monotonic)
    waits: bool = False
    """Whether the hosts are looked at again after a pause only."""
    abandoned: bool = False
    """Whether nobody waits for it any more."""


class ChoiceQueue:
    """Has a thread call `choose` with all tasks that wait, while there are any."""

    def __init__(self, name: str, choose: Callable[[Sequence[Request]], None]):
        self._name = name
        self._choose = choose
        self._changed = threading.Condition()
        self._waiting: list[Request] = []
        self._running = False
        self.next_try = 0.0
        """Until then (`time.monotonic()`) those that have to wait are left alone."""

    def __bool__(self) -> bool:
        """Whether any task waits."""
        return bool(self._waiting)

    def add(self, request: Request) -> None:
        """Has the thread choose. Raises `LocalResourceError` if it cannot be started."""
        with self._changed:
            self._waiting.append(request)
            self._changed.notify_all()
            if self._running:
                return
            self._running = True
        try:
            start_thread(self._run, name=self._name)
        except BaseException:
            with self._changed:
                self._running = False
                self._waiting.remove(request)
            raise

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._choose(batch)
            except BaseException as error:  # noqa: BLE001 - those who wait raise it
                for request in batch:
                    if not request.done.done():
                        request.done.set_exception(error)

    def _next(self) -> list[Request]:
        """Those that are due now, each task once; waits for them, and is empty if there are none."""
        with self._changed:
            while True:
                self._waiting = [each for each in self._waiting if not each.abandoned]
                pause = self.next_try - time.monotonic()
                due: dict[str, Request] = {}
                for request in self._waiting:
                    if len(due) < _TOGETHER and (pause <= 0 or not request.waits):
                        due.setdefault(request.key, request)
                if due or not self._waiting:
                    break
                self._changed.wait(min(pause, _STEP))
            chosen = list(due.values())
            self._waiting = [each for each in self._waiting if each not in chosen]
            self._running = bool(chosen)
            return chosen
