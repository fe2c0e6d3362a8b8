"""What a process knows of a job that it waits for, and what follows from that; no I/O."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs import protocol
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State

LAUNCHES = 6  # launches without a supervisor after which waiting for one more is pointless


class JobTracker:
    """The last known status of one job. `observe` is called with each status; all times are in seconds.

    Launches are repeated `start_timeout` apart while no supervisor shows up, up to `launches` times. `stuck_timeout`
    bounds how long a job directory may be unreadable, and how long a job on another machine may write no log.
    """

    def __init__(
        self,
        job: JobRef,
        observe: Callable[[JobStatus], None],
        *,
        start_timeout: float,
        stuck_timeout: float,
        launches: float = LAUNCHES,
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
        self._start_timeout = start_timeout
        self._stuck_timeout = stuck_timeout
        self._launches = launches
        self._status: JobStatus | None = None
        self._stalled = self._launched = time.monotonic()

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
        if status.log or status.state not in (State.CLAIMED, State.UNKNOWN, State.ELSEWHERE):
            self._stalled = self._launched = now
        elif now - self._stalled > self._limit(status.state):
            raise stuck_error(
                self.job,
                status,
                now - self._stalled,
                why=self.launch_error or status.reason or "no supervisor has shown up",
                doing="waiting for the job",
                next_step=f"{self._check(status.state)}; then run the task again",
            )
        return None

    def _is_truncated(self, status: JobStatus) -> bool:
        if status.known_log is None:
            return False
        known = protocol.overlap(self.offset)
        return len(status.known_log) < known or not status.known_log.endswith(self._last[-known:])

    def should_relaunch(self) -> bool:
        """Whether the launch is to be repeated now, because no supervisor has shown up since the last one."""
        if self.state is not State.CLAIMED or time.monotonic() - self._launched <= self._start_timeout:
            return False
        self._launched = time.monotonic()
        return True

    def _check(self, state: State) -> str:
        if state is State.ELSEWHERE:
            give_up = f"`luigi-sshjob forget --lost {self.job.host} {self.job.id}`"
            return f"use that machine as the host, or, if the job is certainly not running any more, {give_up}"
        return f"check the permissions and the free space of {self.job.directory} on the host"

    def _limit(self, state: State) -> float:
        # a directory that cannot be read may come back with its file server
        return min(self._stuck_timeout, self._launches * self._start_timeout if state is State.CLAIMED else math.inf)


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
