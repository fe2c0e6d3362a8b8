"""The report on failed tasks at the end of a run: which ones, why, and what to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import luigi
import luigi.worker
from luigi.task_status import DONE

from luigi_sshjob.errors import read_message
from luigi_sshjob.tasks.error_text import last_exception, shorten
from luigi_sshjob.text import one_line, printable_line

logger = logging.getLogger("luigi-interface")

_ENTRIES = 10
_NAMES = 3
_WIDTH = 160
_TITLE = "===== Failed Tasks ====="


@dataclass(frozen=True)
class _Failure:
    task: str
    host: str
    job: str
    problem: str
    log_line: str
    next_step: str


class Failures:
    """The tasks of a worker that have failed and not succeeded since. All methods are for the main thread."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failure] = {}

    def add(self, task: luigi.Task, explanation: Any) -> None:
        """Records a failure with Luigi's explanation: any result of `on_failure`, often a text with a traceback."""
        message = read_message(last_exception(str(explanation or "")))
        problem, *details = message.problem.splitlines() or [""]
        # Luigi's words for a process that died or timed out
        problem = problem.removeprefix(f"Task {task.task_id} ").removeprefix("it ")
        log = [line.removeprefix("  | ") for line in details if line.startswith("  | ")]
        self._failures[task.task_id] = _Failure(
            task=str(task),
            host=message.host,
            job=message.job,
            problem=problem or "no explanation",
            log_line=log[-1] if log else "",
            next_step=message.next_step or "see the log above",
        )

    def discard(self, task_id: str) -> None:
        """Forgets the failure of a task that has succeeded."""
        self._failures.pop(task_id, None)

    def report(self) -> str:
        """The text, with one entry for each host and problem; empty if no task has failed."""
        if not self._failures:
            return ""
        groups: dict[tuple[str, str], list[_Failure]] = {}
        for failure in self._failures.values():
            groups.setdefault((failure.host, failure.problem), []).append(failure)
        entries = ["\n".join(_entry(group)) for group in list(groups.values())[:_ENTRIES]]
        rest = list(groups.values())[_ENTRIES:]
        if rest:
            entries.append(f"and {_tasks(sum(map(len, rest)))} more, for {len(rest)} other reasons")
        return "\n\n".join([_TITLE, *entries, _TITLE])

    def log(self) -> None:
        """Logs the report, if there is one."""
        report = self.report()
        if report:
            # as Luigi logs its summary, but also with the log level ERROR
            logger.error("\n%s\n", report)


class FailureRecorder(luigi.worker.Worker):
    """Luigi's worker, with a record of its failed tasks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failures = Failures()

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        if kwargs["status"] == DONE:
            self.failures.discard(kwargs["task_id"])
        super()._add_task(*args, **kwargs)

    # Luigi calls the following for each failure, also if it sends no e-mails.

    def _email_task_failure(self, task: luigi.Task, formatted_traceback: Any) -> None:
        self.failures.add(task, formatted_traceback)
        super()._email_task_failure(task, formatted_traceback)

    def _email_complete_error(self, task: luigi.Task, formatted_traceback: str) -> None:
        self.failures.add(task, formatted_traceback)
        super()._email_complete_error(task, shorten(formatted_traceback))

    def _email_dependency_error(self, task: luigi.Task, formatted_traceback: str) -> None:
        self.failures.add(task, formatted_traceback)
        super()._email_dependency_error(task, shorten(formatted_traceback))


def _entry(group: list[_Failure]) -> list[str]:
    first = group[0]
    names = ", ".join(printable_line(failure.task, _WIDTH) for failure in group[:_NAMES])
    more = f" and {len(group) - _NAMES} more" if len(group) > _NAMES else ""
    where = f" on {one_line(first.host)}" if first.host else ""
    example = "for example " if len(group) > 1 else ""
    lines = [
        f"* {_tasks(len(group))}{where}: {printable_line(first.problem, 5 * _WIDTH)}",
        f"    {names}{more}",
        f"    {example}job {one_line(first.job)}" if first.job else "",
        f"    its log ends: {printable_line(first.log_line, _WIDTH)}" if first.log_line else "",
        f"    Next: {one_line(first.next_step)}",
    ]
    return [line for line in lines if line]


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
