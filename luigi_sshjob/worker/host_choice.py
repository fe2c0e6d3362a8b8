"""Has a host of its pool chosen for a task that has no process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from luigi_sshjob.errors import HostUnreachable
from luigi_sshjob.tasks import choosing, messages
from luigi_sshjob.tasks.choice_queue import Request
from luigi_sshjob.tasks.choice_reporter import choice_reporter
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.worker.threads import PriorityThreadPool


class HostChoice:
    """`begin` calls `then` in the main thread, with the task bound to a host; at once if it has only one.

    While no host can be used, it reports that, and threads respond to messages.
    """

    def __init__(
        self,
        task: RemoteJobTask,
        superseded: Mapping[str, int],
        then: Callable[[], None],
        *,
        in_main_thread: Callable[[Callable[[], None]], None],
        threads: Callable[[], PriorityThreadPool],
    ) -> None:
        self._task = task
        self._superseded = superseded
        self._then = then
        self._in_main_thread = in_main_thread
        self._threads = threads
        self._request: Request | None = None
        self._report: Callable[[HostUnreachable], None] | None = None
        self._answering = False

    def begin(self) -> None:
        """Returns immediately. Raises `ConfigurationError`."""
        request = choosing.request_for(self._task, self._superseded, self._on_wait)
        if request is None:
            self._then()
            return

        def use() -> None:
            choosing.use(self._task, request)
            self._then()

        self._request = request
        request.done.add_done_callback(lambda _: self._in_main_thread(use))

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        if self._request:
            self._request.abandoned = True

    def _on_wait(self, error: HostUnreachable) -> None:
        self._in_main_thread(lambda: self._show(error))

    def _show(self, error: HostUnreachable) -> None:
        if self._report is None:
            self._report = choice_reporter(self._task)
        self._report(error)
        if messages.has_messages(self._task) and not self._answering:
            self._answering = True
            self._threads().submit(self._answer)

    def _answer(self) -> None:
        try:
            messages.answer_all(self._task, accepted=self._task.accepts_messages)
        finally:
            self._answering = False
