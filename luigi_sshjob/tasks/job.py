"""`Job`: one attempt on its host, as users hold it."""

from __future__ import annotations

from luigi_sshjob.jobs.host_jobs import HostJobs
from luigi_sshjob.jobs.model import JobPaths, JobRef, JobStatus, Outcome
from luigi_sshjob.retry import Retry
from luigi_sshjob.targets.context import RemoteContext
from luigi_sshjob.targets.target import RemoteTarget
from luigi_sshjob.tasks.log_lines import last_state
from luigi_sshjob.tasks.outputs import target_on

_TAIL = 256  # bytes of the log that are read for each line


class Job:
    """The handle of one attempt. Holds nothing but names: all it tells is asked of the host."""

    def __init__(self, ref: JobRef, context: RemoteContext, jobs: HostJobs, retry: Retry):
        self.ref = ref
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
    def directory(self) -> str:
        """The job directory on the host."""
        return self.ref.directory

    @property
    def log(self) -> RemoteTarget:
        """All that the command wrote on standard output and standard error, bytes as they came."""
        return self._file("SJ_LOG")

    @property
    def exit_code(self) -> RemoteTarget:
        """The command's exit code as text (128 + number for a signal); exists once the job has ended."""
        return self._file("SJ_EXIT_CODE")

    def outcome(self) -> Outcome | None:
        """How it ended, None while it has not. Raises `HostUnreachable` where the host does not say."""
        return self._jobs.client.look(self.ref).outcome

    def look(self) -> JobStatus:
        """How it stands, without its log. Raises as `outcome`."""
        return self._jobs.client.look(self.ref)

    def tail(self, lines: int = 10) -> list[str]:
        """The last lines of its log as it is now; fewer where they are longer than 256 bytes on average. Of each up to
        2,000 characters, bytes that are not UTF-8 as U+FFFD.

        Raises as `outcome`, and `RemoteCommandFailed` where cleanup has removed the log.
        """
        most = max(lines * _TAIL, 1 << 14)
        data = self._jobs.client.tail(self.ref, lines, most)
        found = data.decode("utf-8", "replace").removesuffix("\n").split("\n") if data else []
        if len(data) == most:
            # the beginning of the first one was not read
            found[0] = f"…{found[0]}"
        return [last_state(line) for line in found]

    @property
    def logs_command(self) -> str:
        """What a person would type to see the whole log."""
        return self._jobs.client.command_line("logs", self.ref)

    def cancel(self) -> Outcome:
        """Ends the job with all its processes: TERM, `kill_grace` seconds, KILL. Returns when it is done."""
        return self._jobs.cancel(self.ref, self._retry)

    def _file(self, name: str) -> RemoteTarget:
        return target_on(self._context, JobPaths.in_directory(self.directory, name))
