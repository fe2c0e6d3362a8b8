"""Waiting for jobs: looks at them until they have ended, and outlasts what is wrong with the network."""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import time
from collections.abc import Callable

from luigi_sshjob.control import JobControl
from luigi_sshjob.errors import JobError
from luigi_sshjob.job import JobRef, Observation, Outcome, State
from luigi_sshjob.patience import Patience

logger = logging.getLogger("luigi-interface")

_LAUNCHES = 6


class Monitor:
    """Watches a job by asking its host; times are seconds."""

    def __init__(
        self,
        control: JobControl,
        patience: Patience,
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
        self, job: JobRef, observe: Callable[[Observation], None], go_on: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Until the job has ended and all of its log was seen. All news is given to `observe`, and what is known
        already every few seconds; `go_on` is called before each and may raise.

        Raises `HostUnreachable` when the host did not answer for too long, `LoginRefused` when it will
        not let us in any more, `JobError` when the job cannot be started there or its directory cannot be seen for
        as long. The job is not touched by any of them.
        """
        offset, more = 0, False
        seen: Observation | None = None
        stalled = relaunched = time.monotonic()
        obstacle = ""
        while True:
            go_on()
            news = self._patience.with_host(lambda: self._news(job, offset, seen, more))  # noqa: B023
            # without news what was seen before is still so, but for the log
            seen = news or (seen and dataclasses.replace(seen, log=b""))
            if seen is None:
                continue
            offset += len(seen.log)
            observe(seen)
            outcome = seen.outcome
            more = seen.more or bool(outcome and seen.log and _may_have_more(outcome, offset))
            if outcome and not more:
                return outcome
            now = time.monotonic()
            if seen.state not in (State.CLAIMED, State.UNKNOWN):
                stalled = relaunched = now
            elif now - stalled > self._limit(seen.state):
                raise self._stuck(job, seen, now - stalled, obstacle)
            elif seen.state is State.CLAIMED and now - relaunched > self._start_timeout:
                relaunched = now
                obstacle = self._patience.with_host(lambda: self._control.relaunch(job))

    def _news(self, job: JobRef, offset: int, seen: Observation | None, more: bool) -> Observation | None:
        known = seen.state if seen else None
        return self._control.watch(job, offset, known, more=more, interval=self._poll_interval)

    def cancel(self, job: JobRef, grace: float) -> Outcome:
        """Ends the job and waits until nothing of it is left, then says how it ended.

        Raises `JobError` where the machine that was asked is not the one it runs on, or cannot see its directory, or
        where the job will not end for as long as a host would be waited for.
        """
        since = time.monotonic()
        while True:
            state, reason = self._patience.with_host(lambda: self._control.cancel(job, grace))
            observation = self._patience.with_host(lambda: self._control.look(job))
            outcome = observation.outcome
            if outcome:
                if outcome.state in ("cancelled", "lost"):
                    # who ended it knows how it ended; running the task again means a new attempt
                    self._patience.with_host(lambda: self._control.collect(job))
                return outcome
            if time.monotonic() - since > self._patience.timeout + grace:
                raise self._stuck(job, observation, time.monotonic() - since)
            if state in (State.ELSEWHERE, State.UNKNOWN):
                raise JobError(
                    f"it cannot be ended from here: {reason}",
                    host=job.host,
                    job=job.id,
                    next_step="name the machine it runs on as the host, when its directory is there",
                )
            logger.debug("%s: cancelling, it is %s", job.id, state.value)
            time.sleep(random.uniform(0.1, 0.3))

    def _limit(self, state: State) -> float:
        # a directory that cannot be seen may come back with its file server; a launch that was repeated so often will
        # not succeed by itself
        return min(self._patience.timeout, self._launches * self._start_timeout if state is State.CLAIMED else math.inf)

    def _stuck(self, job: JobRef, observation: Observation, seconds: float, obstacle: str = "") -> JobError:
        return JobError(
            f"it has been {observation.state.value} for {seconds:.0f} s: "
            f"{obstacle or observation.reason or 'no supervisor has shown up'}",
            host=job.host,
            job=job.id,
            next_step=f"see what is wrong with {job.directory} there (space, permissions); then run the task again",
        )


def _may_have_more(outcome: Outcome, offset: int) -> bool:
    # asked only while bytes still come: a log that its own job made shorter never gets as long as recorded
    return outcome.log_bytes is None or offset < outcome.log_bytes
