"""`Job`: the handle of one attempt."""

from __future__ import annotations

from collections.abc import Callable

from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobPaths, JobRef, JobStatus
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.log_lines import final_text
from luigi_sshjob.tasks.outputs import target_on

_BYTES_PER_LINE = 256  # of the log that `tail` reads


class Job:
    """The handle of one attempt. It holds no state: each method sends a request to the host."""

    def __init__(
        self,
        ref: JobRef,
        context: RemoteContext,
        jobs: HostJobs,
        retry: Retry,
        on_cancel: Callable[[], None] = lambda: None,
    ):
        self.ref = ref
        self._on_cancel = on_cancel
        self._context = context
        self._jobs = jobs
        self._retry = retry

    def __repr__(self) -> str:
        return f"<Job {self.id} on {self.ref.host}>"

    @property
    def id(self) -> str:
        """Task and attempt, `SSHJOB_ID` in the command."""
        return self.ref.id

    @property
    def host(self) -> str:
        """The host, as the task names it."""
        return self.ref.host

    @property
    def directory(self) -> str:
        """The job directory on the host."""
        return self.ref.directory

    @property
    def log(self) -> RemoteTarget:
        """Standard output and standard error of the command, unchanged."""
        return self._file("SJ_LOG")

    @property
    def exit_code(self) -> RemoteTarget:
        """The command's exit code as text (128 + number for a signal); exists once the job has ended."""
        return self._file("SJ_EXIT_CODE")

    def outcome(self) -> Outcome | None:
        """How the job ended; None while it runs. Raises `HostUnreachable` if the host does not respond."""
        return self.status().outcome

    def status(self) -> JobStatus:
        """The current status, without the log. Raises the errors of `outcome`."""
        return self._jobs.client.status(self.ref)

    def tail(self, lines: int = 10) -> list[str]:
        """The last lines of the log so far, each cut to 2,000 characters, with U+FFFD for bytes that are not UTF-8.

        Returns fewer if they are longer than 256 bytes on average. Raises the errors of `outcome`, and
        `RemoteCommandFailed` if cleanup has removed the log.
        """
        limit = max(lines * _BYTES_PER_LINE, 1 << 14)
        data = self._jobs.client.tail(self.ref, lines, limit)
        found = data.decode("utf-8", "replace").removesuffix("\n").split("\n") if data else []
        if len(data) == limit:
            # the beginning of the first line was not read
            found[0] = f"…{found[0]}"
        return [final_text(line) for line in found]

    @property
    def logs_command(self) -> str:
        """The command line that shows the whole log."""
        return self._jobs.client.command_line("logs", self.ref)

    def cancel(self, by: str = "") -> Outcome:
        """End the job with all its processes: TERM, `kill_grace` seconds, KILL. Returns when it has ended.

        The reason in the exit record says `by`, by default the account, machine and process that call this. A run of
        the task in this process makes no retry then.
        """
        self._on_cancel()
        return self._jobs.cancel(self.ref, self._retry, by)

    def _file(self, name: str) -> RemoteTarget:
        return target_on(self._context, JobPaths.in_directory(self.directory, name))
