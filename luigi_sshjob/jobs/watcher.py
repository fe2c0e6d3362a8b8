"""Watches the jobs of a host through subscriptions: the only way in which changes of a job reach this process."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import HostUnreachable, SSHJobError
from luigi_sshjob.jobs import protocol
from luigi_sshjob.jobs.actions import Act, Action
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.jobs.tracker import JobTracker
from luigi_sshjob.retry import HostOutage, SharedRetry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.leader.link import LeaderGone
from luigi_sshjob.ssh.shell.bounds import reading_response
from luigi_sshjob.ssh.shell.remote_shell import Response, request_text

logger = logging.getLogger("luigi-interface")


@dataclasses.dataclass(eq=False)
class WatchedJob:
    """A job to watch. The callbacks are called by `JobWatcher.turn`; either `on_end` or `on_error` is the last."""

    tracker: JobTracker
    retry: SharedRetry
    interval: float
    """The longest pause between two looks, in seconds."""
    on_end: Callable[[Outcome], None]
    on_error: Callable[[BaseException], None]
    perform: Callable[[Action], None]
    """Does, or begins, what follows from the job's status."""

    @property
    def topic(self) -> str:
        """The topic of its subscription."""
        return self.tracker.job.directory


class JobWatcher:
    """Watches any number of jobs on one host. All methods but `wake` are for one thread.

    `tick` is the time in seconds between two updates of a job without a notification.
    """

    def __init__(self, connection: Connection, outage: HostOutage, tick: float = 2.0):
        self._host = connection.host
        self._outage = outage
        self._subscriptions = connection.subscriptions()
        self._interval = connection.settings.scheduler_interval
        self._schedulers = Schedulers(self._interval)
        self._jobs: dict[str, WatchedJob] = {}
        self._added: list[WatchedJob] = []
        self._removed: set[str] = set()
        self._unreachable = self._pinged = False
        self._tick = tick
        self._next_tick = time.monotonic() + tick

    def add(self, job: WatchedJob) -> None:
        """Watches a job from the next turn on."""
        self._jobs[job.topic] = job
        self._added.append(job)

    def remove(self, job: WatchedJob) -> None:
        """Stops watching a job, if it is still watched."""
        if self._jobs.get(job.topic) is job:
            del self._jobs[job.topic]
            self._removed.add(job.topic)
            self._schedulers.forget(job.tracker.job)

    def turn(self) -> None:
        """Waits for notifications until the next tick, and passes them on.

        While the host is unreachable it is tried with back-off, and the jobs whose timeout is over fail. An error
        that a retry would not solve fails all jobs.
        """
        try:
            with translate_os_errors("watching jobs", host=self._host):
                try:
                    if self._unreachable:
                        self._wait_for_host()
                    else:
                        self._apply_changes()
                        self._receive()
                except LeaderGone as gone:
                    self._reset(gone)
        except Exception as error:  # noqa: BLE001  # whatever it is, each job has somebody who waits for it
            self._fail_all(error)

    def wake(self) -> None:
        """Ends a turn early; for other threads."""
        self._subscriptions.wake()

    def close(self) -> None:
        """Releases the connection to the leader."""
        self._subscriptions.close()

    def _apply_changes(self) -> None:
        added, self._added = self._added, []
        for job in added:
            if self._jobs.get(job.topic) is job:
                self._subscribe(job)
        removed, self._removed = self._removed, set()
        self._subscriptions.unsubscribe([topic for topic in removed if topic not in self._jobs])
        for scheduler, words in self._schedulers.due_requests().items():
            self._subscriptions.request(scheduler, request_text(*words))

    def _subscribe(self, job: WatchedJob) -> None:
        tracker = job.tracker
        words = protocol.watch_words(tracker.job, tracker.offset, tracker.status, tracker.more)
        self._subscriptions.subscribe(job.topic, words, interval=job.interval, urgent=tracker.more)

    def _receive(self) -> None:
        for topic, content in self._subscriptions.receive(self._next_tick - time.monotonic()):
            if isinstance(content, HostUnreachable):
                self._outage.record(content)
                self._subscriptions.reset()
                self._unreachable = True
                return
            if isinstance(content, Exception):
                raise content
            if topic in self._jobs:
                self._update([self._jobs[topic]], content)
            else:
                with reading_response("scheduler_answers", self._host):
                    concerned = self._schedulers.update(topic, content)
                self._update(self._watched(concerned), None)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + self._tick
            self._update(list(self._jobs.values()), None)

    def _watched(self, jobs: Sequence[JobRef]) -> list[WatchedJob]:
        return [self._jobs[job.directory] for job in jobs if job.directory in self._jobs]

    def _update(self, jobs: Sequence[WatchedJob], response: Response | None) -> None:
        """Passes a notification, or None if there was none, on to the jobs."""
        for job in jobs:
            tracker = job.tracker
            try:
                with reading_response("subscribe", self._host):
                    status = protocol.status_of(response, tracker.offset) if response else None
                    verdict = self._schedulers.judge(tracker.job, status)
                outcome = tracker.update(verdict.status if verdict else status)
                if outcome:
                    self.remove(job)
                    job.on_end(outcome)
                elif verdict and verdict.action:
                    job.perform(verdict.action)
                elif not verdict and tracker.should_relaunch():
                    job.perform(Action(Act.LAUNCH))
            except Exception as error:  # noqa: BLE001  # also what the callbacks raise, as `observe` of a task
                self.remove(job)
                job.on_error(error)
            else:
                if response and not outcome:
                    self._subscribe(job)

    def _wait_for_host(self) -> None:
        self._fail_expired()
        if not self._pinged and self._outage.pause() == 0:
            self._subscriptions.reset()
            self._subscriptions.ping()
            self._pinged = True
        timeout = self._tick if self._pinged else min(self._tick, self._outage.pause())
        for _, content in self._subscriptions.receive(timeout):
            self._pinged = False
            if isinstance(content, HostUnreachable):
                self._outage.record(content)
            elif isinstance(content, Exception):
                raise content
            else:
                self._outage.end()
        if self._outage.error is None:
            self._reset(None)

    def _fail_expired(self) -> None:
        for job in list(self._jobs.values()):
            try:
                job.retry.check()
            except HostUnreachable as error:
                error.job, error.doing = job.tracker.job.id, "watching the job"
                del self._jobs[job.topic]
                job.on_error(error)

    def _reset(self, gone: LeaderGone | None) -> None:
        """Subscribes to all jobs again in the next turn, each from where it is."""
        self._unreachable = self._pinged = False
        self._schedulers = Schedulers(self._interval)
        self._added, self._removed = list(self._jobs.values()), set()
        self._subscriptions.reset(gone)

    def _fail_all(self, error: Exception) -> None:
        failed, self._jobs = self._jobs, {}
        self._reset(None)
        if not failed:
            logger.debug("%s: %s", self._host, error)
        for job in failed.values():
            # a copy for each, as each names its own job
            job.on_error(
                error.copy_for(job=job.tracker.job.id, doing="watching the job")
                if isinstance(error, SSHJobError)
                else error
            )
