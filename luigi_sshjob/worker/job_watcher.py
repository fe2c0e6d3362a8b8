"""One thread that watches all jobs of a host."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import HostUnreachable, SSHJobError
from luigi_sshjob.jobs import protocol
from luigi_sshjob.jobs.model import Outcome
from luigi_sshjob.jobs.monitor import JobTracker
from luigi_sshjob.retry import HostOutage, SharedRetry
from luigi_sshjob.ssh.connection import Connection
from luigi_sshjob.ssh.leader.link import LeaderGone
from luigi_sshjob.ssh.leader.subscriptions import HOST
from luigi_sshjob.ssh.shell.remote_shell import Response

logger = logging.getLogger("luigi-interface")

_TICK = 2.0  # seconds between two looks at what has been known for long


@dataclasses.dataclass(eq=False)
class Watched:
    """A job that somebody waits for. All but `tracker` and `patience` is called by the thread that watches."""

    tracker: JobTracker
    patience: SharedRetry
    interval: float
    """The longest pause between two looks, in seconds."""
    ended: Callable[[Outcome], None]
    failed: Callable[[BaseException], None]
    relaunch: Callable[[], None]

    @property
    def topic(self) -> str:
        """Tells it from others on its host."""
        return self.tracker.job.directory


class JobWatcher:
    """Asks for news of many jobs at once, for as long as the process lives or until `close`."""

    def __init__(self, connection: Connection, outage: HostOutage):
        self._connection = connection
        self._outage = outage
        self._lock = threading.Lock()
        self._coming: list[Watched] = []
        self._leaving: list[Watched] = []
        self._watched: dict[str, Watched] = {}
        self._watches = connection.subscriptions()
        self._deaf = self._asked_host = self._closed = False
        self._next_tick = time.monotonic() + _TICK
        self._thread: threading.Thread | None = None

    def add(self, watched: Watched) -> None:
        """From now on; for all threads."""
        with self._lock:
            self._coming.append(watched)
            if self._thread is None:
                name = f"sshjob watches {self._connection.host}"
                self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._thread.start()
        self._watches.wake()

    def drop(self, watched: Watched) -> None:
        """Nobody waits for it any more; for all threads."""
        with self._lock:
            self._leaving.append(watched)
        self._watches.wake()

    def close(self) -> None:
        """Ends the thread soon."""
        self._closed = True
        self._watches.wake()

    def _serve(self) -> None:
        while not self._closed:
            try:
                with translate_os_errors("watching its jobs", host=self._connection.host):
                    self._turn()
            except LeaderGone as gone:
                self._begin_anew(gone)
            except Exception as error:  # no way to the host for a reason that waiting does not mend
                self._fail_all(error)
        self._watches.close()

    def _turn(self) -> None:
        self._come_and_go()
        if self._deaf:
            self._outlast()
            return
        done: list[str] = []
        for topic, content in self._watches.hear(self._next_tick - time.monotonic()):
            if isinstance(content, HostUnreachable):
                self._outage.record(content)
                self._watches.begin_anew()
                self._deaf = True
                return
            if isinstance(content, Exception):
                raise content
            if topic in self._watched and self._told(self._watched[topic], content):
                done.append(topic)
        self._watches.drop(done)
        if time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + _TICK
            self._tick()

    def _come_and_go(self) -> None:
        with self._lock:
            coming, self._coming = self._coming, []
            leaving, self._leaving = self._leaving, []
        for job in coming:
            self._watched[job.topic] = job
        gone = [job.topic for job in leaving if self._watched.get(job.topic) is job]
        for topic in gone:
            del self._watched[topic]
        if not self._deaf:
            for job in coming:
                if job.topic in self._watched:
                    self._arm(job)
            self._watches.drop(gone)

    def _arm(self, watched: Watched) -> None:
        tracker = watched.tracker
        words = protocol.watch_words(tracker.job, tracker.offset, tracker.known, tracker.more)
        self._watches.arm(watched.topic, words, interval=watched.interval, urgent=tracker.more)

    def _told(self, job: Watched, answer: Response | None) -> bool:
        """Passes the news on; says whether nothing more is to be told of the job."""
        try:
            outcome = job.tracker.hear(protocol.status_of(answer, job.tracker.offset) if answer else None)
            if outcome is None:
                if job.tracker.should_relaunch():
                    job.relaunch()
                if answer:
                    self._arm(job)
                return False
            job.ended(outcome)
        except LeaderGone:
            raise
        except Exception as error:
            job.failed(error)
        self._watched.pop(job.topic, None)
        return True

    def _tick(self) -> None:
        self._watches.drop([job.topic for job in list(self._watched.values()) if self._told(job, None)])

    # -- a host that does not answer

    def _outlast(self) -> None:
        """Asks the host for anything as often as it makes sense, and begins anew when it answers."""
        for job in list(self._watched.values()):
            try:
                job.patience.check()
            except HostUnreachable as error:
                error.job, error.doing = job.tracker.job.id, "watching it"
                del self._watched[job.topic]
                job.failed(error)
        if not self._asked_host and self._outage.pause() == 0:
            self._watches.begin_anew()
            self._watches.ask_host()
            self._asked_host = True
        for topic, content in self._watches.hear(_TICK if self._asked_host else min(_TICK, self._outage.pause())):
            self._asked_host = self._asked_host and topic != HOST
            if isinstance(content, HostUnreachable):
                self._outage.record(content)
            elif isinstance(content, Exception):
                raise content
            elif topic == HOST:
                self._outage.end()
        if self._outage.error is None:
            self._begin_anew(None)

    def _begin_anew(self, gone: LeaderGone | None) -> None:
        self._watches.begin_anew(gone)
        self._deaf = self._asked_host = False
        with self._lock:
            # what was told is known: each goes on from where it is
            self._coming = [*self._watched.values(), *self._coming]
            self._watched = {}

    def _fail_all(self, error: Exception) -> None:
        self._watches.begin_anew()
        self._deaf = self._asked_host = False
        failed, self._watched = self._watched, {}
        if not failed:
            # somebody who comes may meet with the same
            logger.debug("%s: %s", self._connection.host, error)
        for job in failed.values():
            # each has a job of its own to name
            job.failed(
                error.copy_for(job=job.tracker.job.id, doing="watching it") if isinstance(error, SSHJobError) else error
            )
