"""What a process knows of a job that it waits for, and what follows from that; no I/O."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs import protocol
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.outcome import Outcome

LAUNCHES = 6  # launches without a supervisor after which waiting for one more is pointless


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a job may make no progress, in seconds.

    Launches are repeated `start_timeout` apart while no supervisor shows up, up to `launches` times. `stuck_timeout`
    bounds how long a job directory may be unreadable, and how long a job on another machine may write no log;
    `queue_timeout` bounds how long it may be queued, unless it is 0.
    """

    start_timeout: float
    stuck_timeout: float
    launches: float = LAUNCHES
    queue_timeout: float = 0

    def of(self, state: State) -> float:
        """The limit in a state without progress."""
        if state is State.CLAIMED:
            return min(self.stuck_timeout, self.launches * self.start_timeout)
        # a directory that cannot be read may come back with its file server
        return self.stuck_timeout


class JobTracker:
    """The last known status of one job. `observe` is called with each status.

    `give_up` is the command line that gives the job up.
    """

    def __init__(
        self,
        job: JobRef,
        observe: Callable[[JobStatus], None],
        limits: Limits,
        give_up: str,
        offset: int = 0,
    ) -> None:
        self.job = job
        self.offset = offset
        """How many bytes of the log were received."""
        self.more = False
        """Whether the log is known to have more."""
        self.launch_error = ""
        """Why the last launch started no supervisor, if known."""
        # what the next response repeats
        self._last = b""
        self._observe = observe
        self._limits = limits
        self._give_up = give_up
        self._queued: float | None = None
        self._status: JobStatus | None = None
        self._stalled = self._launched = time.monotonic()

    @property
    def status(self) -> JobStatus | None:
        """The last known status, without the log."""
        return self._status

    @property
    def state(self) -> State | None:
        """The last known state."""
        return self._status.state if self._status else None

    def update(self, status: JobStatus | None) -> Outcome | None:
        """Takes a new status, or None if there is no change; returns the outcome once the whole log was received.

        Raises `JobError` when the job has made no progress for too long.
        """
        status = status or self._status
        if status is None:
            return None
        # without a notification the last status still holds, except for the log and the run time
        self._status = dataclasses.replace(status, log=b"", known_log=None, running_for=None)
        if self._is_truncated(status):
            # what is in it now is read from its beginning
            self.offset, self._last = 0, b""
            status = dataclasses.replace(status, log=b"", truncated=True, more=True)
        self.offset += len(status.log)
        self._last = (self._last + status.log)[-protocol.overlap(self.offset) :] if self.offset else b""
        self._observe(status)
        outcome = status.outcome
        self.more = status.more or bool(outcome and status.log and _may_have_more(outcome, self.offset))
        if outcome and not self.more:
            return outcome
        now = time.monotonic()
        self._check_queue(status, now)
        if status.log or status.state not in (State.CLAIMED, State.UNKNOWN, State.ELSEWHERE):
            self._stalled = self._launched = now
        elif now - self._stalled > self._limits.of(status.state):
            raise stuck_error(
                self.job,
                status,
                now - self._stalled,
                why=self.launch_error or status.reason or "no supervisor has shown up",
                doing="waiting for the job",
                next_step=f"{self._check(status)}; then run the task again",
            )
        return None

    def _check_queue(self, status: JobStatus, now: float) -> None:
        if status.state is not State.QUEUED:
            self._queued = None
            return
        self._queued = now if self._queued is None else self._queued
        if now - self._queued > (self._limits.queue_timeout or math.inf):
            raise stuck_error(
                self.job,
                status,
                now - self._queued,
                why=status.reason,
                doing="waiting for the job",
                next_step="change what it waits for, or cancel it; then run the task again",
            )

    def _is_truncated(self, status: JobStatus) -> bool:
        if status.known_log is None:
            return False
        known = protocol.overlap(self.offset)
        return len(status.known_log) < known or not status.known_log.endswith(self._last[-known:])

    def should_relaunch(self) -> bool:
        """Whether the launch is to be repeated now, because no supervisor has shown up since the last one."""
        if self.state is not State.CLAIMED or time.monotonic() - self._launched <= self._limits.start_timeout:
            return False
        self._launched = time.monotonic()
        return True

    def _check(self, status: JobStatus) -> str:
        if status.state is State.ELSEWHERE:
            return f"use that machine as the host, or, if the job is certainly not running any more, `{self._give_up}`"
        if status.scheduled:
            return f"check on {self.job.host} whether the scheduler accepts and lists jobs"
        return f"check the permissions and the free space of {self.job.directory} on the host"


def stuck_error(job: JobRef, status: JobStatus, seconds: float, *, why: str, doing: str, next_step: str) -> JobError:
    """The error for a job whose state has not changed for too long."""
    return JobError(
        f"the job is stuck: it has been {status.state.value} for {seconds:.0f} s{': ' if why else ''}{why}",
        host=job.host,
        job=job.id,
        doing=doing,
        next_step=next_step,
    )


def _may_have_more(outcome: Outcome, offset: int) -> bool:
    # only while bytes arrive: a log that its own job truncated never reaches the recorded length
    return outcome.log_bytes is None or offset < outcome.log_bytes
