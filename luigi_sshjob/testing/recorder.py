"""Runs pipelines without hosts: jobs are recorded instead of submitted."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import luigi
from luigi.execution_summary import LuigiRunResult

from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.jobs.model import JobPaths, JobRef, JobStatus, State, job_key
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.tasks.events import AttemptEvents
from luigi_sshjob.tasks.job import Job
from luigi_sshjob.tasks.retries import Again
from luigi_sshjob.tasks.run import JobRun
from luigi_sshjob.tasks.status import failure
from luigi_sshjob.tasks.task import RemoteJobTask
from luigi_sshjob.testing import seam
from luigi_sshjob.testing.recorded_files import RecordedFiles
from luigi_sshjob.testing.recorded_job import (
    Content,
    End,
    Outputs,
    RecordedJob,
    Selector,
    as_bytes,
    matcher,
    record_of,
    recorded,
)
from luigi_sshjob.testing.settings import fresh_tasks

logger = logging.getLogger("luigi-interface")

_Rule = TypeVar("_Rule")


class Recorder:
    """The jobs of the tasks that run while it records, and how they end, see `record_jobs`.

    Jobs succeed, and make empty outputs, unless something else was said. Tasks are selected by class, by family or as
    one task; of several rules for a task, the last one applies. Methods may be called at any time before a task runs.
    """

    def __init__(self, root: Path):
        self.jobs: list[RecordedJob] = []
        """The attempts so far, in the order in which they were started."""
        self._root = root
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._ends: list[tuple[Callable[[luigi.Task], bool], End]] = []
        self._outputs: list[tuple[Callable[[luigi.Task], bool], Outputs]] = []

    def run(self, *tasks: luigi.Task, **options: Any) -> LuigiRunResult:
        """Run the tasks, with Luigi's worker and a scheduler in this process, and return Luigi's detailed summary.

        `options` are those of `luigi.build`. One task runs at a time, and none in a process of its own, so that
        breakpoints and `monkeypatch` work.
        """
        defaults = {"local_scheduler": True, "workers": 1, "detailed_summary": True}
        summary: LuigiRunResult = luigi.build(tasks, **{**defaults, **options})
        return summary

    def succeed(self, tasks: Selector, *, log: Content = "") -> None:
        """The jobs of `tasks` succeed, and write `log`: the default, and the end of an earlier `fail` or `lose`."""
        self._ends.append((matcher(tasks), End(log=log)))

    def fail(self, tasks: Selector, exit_code: int | Callable[[RecordedJob], int] = 1, *, log: Content = "") -> None:
        """The commands of `tasks` exit with `exit_code`, or what that returns for the job, and write `log`.

        As on a host, a job whose exit code is one of `success_exit_codes` succeeds.
        """
        self._ends.append((matcher(tasks), End(exit_code, log)))

    def lose(self, tasks: Selector, reason: str = "the machine has been restarted", *, log: Content = "") -> None:
        """The jobs of `tasks` end without an exit record: `JobLost`, after the retries for "lost" that they have."""
        self.end(tasks, Outcome.lost(reason, proved_dead=True), log=log)

    def end(
        self, tasks: Selector, outcome: Outcome | Callable[[RecordedJob], Outcome | None], *, log: Content = ""
    ) -> None:
        """The jobs of `tasks` end with `outcome`, or what that returns for the job; None is a success.

        A retry follows at once, as `retries` of the task says.
        """
        self._ends.append((matcher(tasks), End(log=log, given=outcome)))

    def write(self, tasks: Selector, content: Content | Mapping[str, Content] | Callable[[RecordedJob], Any]) -> None:
        """The jobs of `tasks` write `content` to their outputs, if they succeed.

        A dict has the content of each output by its key in `output()`, or by its number if that is a list. A function
        is called with the job, and returns the content.
        """
        self._outputs.append((matcher(tasks), Outputs(content)))

    def of(self, tasks: Selector) -> list[RecordedJob]:
        """Those of `jobs` that belong to `tasks`."""
        selected = matcher(tasks)
        return [job for job in self.jobs if selected(job.task)]

    def files(self, destination: Destination) -> RecordedFiles:
        """The files of a host, for the functions that take the place of requests to it."""
        root = self._root / job_key(str(destination))
        files = RecordedFiles(root, str(destination))
        os.makedirs(files.local("~"), exist_ok=True)
        return files

    def submit(self, run: JobRun) -> None:
        """Record the job of `run` and make its outputs. Raises `JobFailed` or `JobLost`."""
        task = cast("RemoteJobTask", run._task)  # noqa: SLF001
        if os.getpid() != self._process:
            raise ConfigurationError(
                "the recorder belongs to another process",
                host=str(run.options.context.destination),
                job=task.task_id,
                next_step="run the tasks with recorder.run(), or with one worker of Luigi",
            )
        with self._lock:
            attempt = 1 + sum(job.task == task for job in self.jobs)
            job = recorded(task, run.options, run.spec, attempt)
            end = _last(self._ends, job, End())
            job = dataclasses.replace(job, outcome=end.outcome(job))
            self.jobs.append(job)
        self._finish(run, job, as_bytes(end.log))

    def _finish(self, run: JobRun, job: RecordedJob, log: bytes) -> None:
        assert job.outcome
        files = self.files(run.options.context.destination)
        paths = JobPaths(run.options.base_dir, run.spec.key)
        ref = JobRef(job.host, run.spec.key, job.attempt, f"{paths.task_directory}/{job.attempt}")
        run.submitted.ref = ref
        handle = Job(ref, run.options.context, run.jobs, run.jobs.retry())
        events = AttemptEvents(partial(run._trigger, handle), attached=False)  # noqa: SLF001
        logger.info("%s: recorded %s on %s, which %s", job.task, ref.id, job.host, job.outcome)
        events.observe(JobStatus(State.RUNNING))
        files.write(JobPaths.in_directory(ref.directory, "SJ_LOG"), log)
        if job.outcome.state != "lost":
            files.write(JobPaths.in_directory(ref.directory, "SJ_EXIT_CODE"), f"{job.outcome.exit_code}\n".encode())
        events.end(job.outcome)
        if again := run.retry_after(ref, job.outcome):
            raise Again(again.previous)
        if not job.outcome.succeeded:
            lines = log.decode("utf-8", "replace").splitlines()
            raise failure(ref, job.outcome, lines, run.jobs.client.command_line("logs", ref))
        if run.spec.publish:
            files.write(paths.published_record, record_of(ref, job.outcome).encode())
            files.write(paths.published_log, log)
        fetched = {output.local_path for output in run.spec.returned}
        for path, content in _last(self._outputs, job, Outputs()).of(job).items():
            if path in fetched:
                os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
                Path(path).write_bytes(content)
            else:
                files.write(path, content)


def _last(rules: Sequence[tuple[Callable[[luigi.Task], bool], _Rule]], job: RecordedJob, default: _Rule) -> _Rule:
    return next((rule for selects, rule in reversed(rules) if selects(job.task)), default)


@contextlib.contextmanager
def record_jobs() -> Iterator[Recorder]:
    """Record the jobs of all `RemoteJobTask`s that run while the block runs; no host is contacted, no command is run.

    Files of hosts, at relative and absolute paths, are in a temporary directory with a folder for each host, until the
    end of the block: a `RemoteTarget` exists when its task has run, or when something else has written it.
    What needs a host, such as `RemoteContext.check_output`, raises `ConfigurationError`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sshjob-recorder-") as root,
        fresh_tasks(),
    ):
        recorder = Recorder(Path(root))
        with seam.installed(recorder):
            yield recorder
