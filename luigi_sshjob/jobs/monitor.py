"""Waiting for jobs: looks at them until they have ended, and outlasts what is wrong with the network."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable

from luigi_sshjob.errors import JobError
from luigi_sshjob.jobs.client import JobClient
from luigi_sshjob.jobs.model import JobRef, JobStatus, Outcome, State
from luigi_sshjob.retry import Retry, jitter

logger = logging.getLogger("luigi-interface")

_LAUNCHES = 6


class JobTracker:
    """What is known of one job that is waited for, and what that means; no I/O. Times are seconds."""

    def __init__(
        self,
        job: JobRef,
        observe: Callable[[JobStatus], None],
        *,
        start_timeout: float,
        patience: float,
        launches: float = _LAUNCHES,
        offset: int = 0,
    ) -> None:
        self.job = job
        self.offset = offset
        """How many bytes of the log were seen."""
        self.more = False
        """Whether it is known that there are more."""
        self.launch_error = ""
        """What is known of why no supervisor could be started."""
        self._observe = observe
        self._start_timeout = start_timeout
        self._patience = patience
        self._launches = launches
        self._seen: JobStatus | None = None
        self._stalled = self._launched = time.monotonic()

    @property
    def known(self) -> State | None:
        """How the job stood when it was last seen."""
        return self._seen.state if self._seen else None

    def hear(self, news: JobStatus | None) -> Outcome | None:
        """The outcome, when the job has ended and all of its log was seen. None as news means that there are none.

        Raises `JobError` when the job has made no progress for too long.
        """
        seen = news or self._seen
        if seen is None:
            return None
        # without news what was seen is still so, but for the log and what has passed since
        self._seen = dataclasses.replace(seen, log=b"", running_for=None)
        self.offset += len(seen.log)
        self._observe(seen)
        outcome = seen.outcome
        self.more = seen.more or bool(outcome and seen.log and _may_have_more(outcome, self.offset))
        if outcome and not self.more:
            return outcome
        now = time.monotonic()
        if seen.state not in (State.CLAIMED, State.UNKNOWN):
            self._stalled = self._launched = now
        elif now - self._stalled > self._limit(seen.state):
            raise _stuck(self.job, seen, now - self._stalled, self.launch_error)
        return None

    def should_relaunch(self) -> bool:
        """Whether no supervisor has shown up for so long that the launch is to be repeated, now."""
        if self.known is not State.CLAIMED or time.monotonic() - self._launched <= self._start_timeout:
            return False
        self._launched = time.monotonic()
        return True

    def _limit(self, state: State) -> float:
        # a directory that cannot be seen may come back with its file server; a launch that was repeated so often will
        # not succeed by itself
        return min(self._patience, self._launches * self._start_timeout if state is State.CLAIMED else math.inf)


class JobMonitor:
    """Watches a job by asking its host; times are seconds."""

    def __init__(
        self,
        control: JobClient,
        patience: Retry,
        *,
        poll_interval: float,
        start_timeout: float,
        launches: float = _LAUNCHES,
    ):
        self._control = control
        self._patience = patience
        self._poll_interval = poll_interval
        self._start_timeout = start_timeout
        self._launches = launches

    def wait(
        self,
        job: JobRef,
        observe: Callable[[JobStatus], None],
        go_on: Callable[[], None] = lambda: None,
        offset: int = 0,
    ) -> Outcome:
        """Until the job has ended and all of its log, from `offset` in bytes on, was seen. All news is given to
        `observe`, and what is known already every few seconds; `go_on` is called before each and may raise.

        Raises `HostUnreachable` when the host did not answer for too long, `LoginRefused` when it will
        not let us in any more, `JobError` when the job cannot be started there or its directory cannot be seen for
        as long. The job is not touched by any of them.
        """
        tracker = self.tracker(job, observe, offset)
        while True:
            go_on()
            outcome = tracker.hear(self._patience.call(lambda: self._news(tracker)))
            if outcome:
                return outcome
            if tracker.should_relaunch():
                tracker.launch_error = self._patience.call(lambda: self._control.relaunch(job))

    def tracker(self, job: JobRef, observe: Callable[[JobStatus], None], offset: int = 0) -> JobTracker:
        """For whoever asks for news of the job by other means than `wait`."""
        return JobTracker(
            job,
            observe,
            start_timeout=self._start_timeout,
            patience=self._patience.timeout,
            launches=self._launches,
            offset=offset,
        )

    def _news(self, tracker: JobTracker) -> JobStatus | None:
        return self._control.watch(
            tracker.job, tracker.offset, tracker.known, more=tracker.more, interval=self._poll_interval
        )

    def cancel(self, job: JobRef, grace: float) -> Outcome:
        """Ends the job and waits until nothing of it is left, then says how it ended.

        Raises `JobError` where the machine that was asked is not the one it runs on, or cannot see its directory, or
        where the job will not end for as long as a host would be waited for.
        """
        since = time.monotonic()
        while True:
            state, reason = self._patience.call(lambda: self._control.cancel(job, grace))
            observation = self._patience.call(lambda: self._control.status(job))
            outcome = observation.outcome
            if outcome:
                if outcome.state in ("cancelled", "lost"):
                    # who ended it knows how it ended; running the task again means a new attempt
                    self._patience.call(lambda: self._control.collect(job))
                return outcome
            if time.monotonic() - since > self._patience.timeout + grace:
                raise _stuck(
                    job, observation, time.monotonic() - since, step="look at its processes there; then end it again"
                )
            if state in (State.ELSEWHERE, State.UNKNOWN):
                raise JobError(
                    f"it cannot be ended from here: {reason}",
                    host=job.host,
                    job=job.id,
                    next_step="name the machine it runs on as the host, when its directory is there",
                )
            logger.debug("%s: cancelling, it is %s", job.id, state.value)
            time.sleep(jitter(0.1, 0.3))


def _may_have_more(outcome: Outcome, offset: int) -> bool:
    # asked only while bytes still come: a log that its own job made shorter never gets as long as recorded
    return outcome.log_bytes is None or offset < outcome.log_bytes


def _stuck(job: JobRef, observation: JobStatus, seconds: float, launch_error: str = "", step: str = "") -> JobError:
    why = launch_error or observation.reason or ("" if step else "no supervisor has shown up")
    return JobError(
        f"nothing has changed for too long: it has been {observation.state.value} for {seconds:.0f} s"
        f"{': ' if why else ''}{why}",
        host=job.host,
        job=job.id,
        doing="ending it" if step else "waiting for it",
        next_step=step or f"see what is wrong with {job.directory} there (room, permissions); then run the task again",
    )
