"""Jobs on a scheduler of the tests, watched as a worker watches its jobs."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from luigi_sshjob import RemoteContext
from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.launchers.scheduler import Answer, Phase, SchedulerRow
from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.jobs.scheduled.facts import job_id_of, parse_facts
from luigi_sshjob.jobs.watcher import WatchedJob
from luigi_sshjob.retry import HostOutage, Retry, SharedRetry
from luigi_sshjob.worker.job_watcher import JobWatcherThread

from support import processes
from support.engines import Engine
from support.jobs import Bench


class ScheduledBench(Bench):
    """Submits jobs to a scheduler, or with `engine` None to the host itself, and watches them."""

    def __init__(self, host: Any, name: str, engine: Engine | None):
        super().__init__(host, name)
        self.engine = engine
        self.launcher = engine.launcher if engine else "nohup"
        self.observed: dict[JobRef, list[JobStatus]] = {}
        self.outcomes: dict[JobRef, Outcome] = {}
        self.errors: dict[JobRef, BaseException] = {}
        connection = RemoteContext(host.alias).connection
        self._outage = HostOutage()
        self._retry = SharedRetry(120, self._outage)
        self._watcher = JobWatcherThread(connection, self._outage)
        self._pool = ThreadPoolExecutor(4)

    @property
    def monitor(self) -> JobMonitor:
        return JobMonitor(self.client, Retry(60), poll_interval=0.3, start_timeout=3, launches=100)

    def submit(self, command: str, *, options=None, batch=1, time_limit=0, kill_grace=2, watch=True, **request):
        warning = request["limits"].warning if "limits" in request else 0
        launch = get_launcher(self.launcher).launch(
            LaunchOptions(options or {}, batch, time_limit, kill_grace, warning)
        )
        submission = super().submit(command, launch=launch, time_limit=time_limit, kill_grace=kill_grace, **request)
        if watch and submission.job not in self.observed:
            self.watch(submission.job)
        return submission

    def submit_many(self, count: int, command: str, **request) -> list[JobRef]:
        """Submit them as one array."""
        jobs = []
        for number in range(count):
            self.key = f"Element_{number}"
            jobs.append(self.submit(command, batch=count, **request).job)
        return jobs

    def watch(self, job: JobRef) -> None:
        self.observed[job] = []
        tracker = self.monitor.tracker(job, self.observed[job].append)

        def perform(action: Any) -> None:
            self._pool.submit(lambda: Retry(60).call(lambda: self.client.perform(job, action)))

        watched = WatchedJob(
            tracker,
            self._retry,
            0.3,
            lambda outcome: self.outcomes.__setitem__(job, outcome),
            lambda error: self.errors.__setitem__(job, error),
            perform,
        )
        self._watcher.add(watched)

    def close(self) -> None:
        self._watcher.close()
        self._pool.shutdown()

    def state(self, job: JobRef) -> JobStatus:
        """What the watcher has last seen."""
        processes.wait_until(lambda: self.observed[job], f"a status of {job.id}")
        return self.observed[job][-1]

    def log(self, job: JobRef) -> bytes:
        return b"".join(status.log for status in self.observed[job])

    def reasons(self, job: JobRef) -> list[str]:
        """All different reasons, in their order."""
        return list(dict.fromkeys(status.reason for status in self.observed[job]))

    def until(self, job: JobRef, text: str, seconds: float = 40) -> None:
        """Wait until a reason that the watcher has seen contains the text."""
        try:
            processes.wait_until(lambda: any(text in reason for reason in self.reasons(job)), text, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; seen: {self.reasons(job)}") from None

    def until_state(self, job: JobRef, state: State, seconds: float = 40) -> None:
        try:
            processes.wait_until(lambda: self.state(job).state is state, f"{job.id} to be {state.value}", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; seen: {self.reasons(job)}; {self.errors}") from None

    def end(self, job: JobRef, seconds: float = 70) -> Outcome:
        """The outcome, once there is one; it is collected."""
        (outcome,) = self.ends([job], seconds)
        return outcome

    def ends(self, jobs: list[JobRef], seconds: float = 70) -> list[Outcome]:
        """The outcomes of all jobs; each is collected."""

        def all_ended() -> bool:
            assert not self.errors, self.errors
            return all(job in self.outcomes for job in jobs)

        try:
            processes.wait_until(all_ended, "the end of all jobs", seconds)
        except TimeoutError as error:
            left = [
                f"{job.id}: {self.state(job).state.value}, {self.reasons(job)}"
                for job in jobs
                if job not in self.outcomes
            ]
            raise TimeoutError("\n".join([str(error), *left[:10], self.host.diagnostics()])) from None
        for job in jobs:
            self.client.collect(job)
        return [self.outcomes[job] for job in jobs]

    def running(self, command: str = "while :; do sleep 0.2; done", **request) -> JobRef:
        """A running job."""
        job = self.submit(command, **request).job
        self.until_state(job, State.RUNNING)
        return job

    def number(self, job: JobRef) -> str:
        """The scheduler's id of the attempt that was submitted last; it may run before its submission has responded."""
        assert self.engine
        scheduler, found = self.engine.scheduler, []

        def is_known() -> bool:
            text = self.host.run("sh", "-c", f"cat {shlex.quote(job.directory)}/submission 2>/dev/null || true")
            found[:] = [job_id_of(scheduler, parse_facts("", text, "", 0))]
            return bool(found[0])

        processes.wait_until(is_known, f"the id of {job.id}")
        return found[0]

    def rows(self) -> list[SchedulerRow]:
        """What the scheduler lists now; this is not counted as a call."""
        assert self.engine
        line = f"PATH=/usr/bin:/bin; {self.engine.scheduler.listing}"
        answer = self.host.run("sh", "-lc", line)
        return self.engine.scheduler.parse_listing(Answer(0, answer))

    def known(self, job: JobRef) -> list[str]:
        """The ids of all jobs that the scheduler has for this attempt, also of those that are over."""
        assert self.engine
        submission = parse_facts("", self.host.run("cat", f"{job.directory}/submission"), "", 0).submission
        assert submission
        return [row.id for row in self.rows() if self.engine.scheduler.is_from(row, submission.submitted)]

    def alive(self) -> list[str]:
        return [row.id for row in self.rows() if row.phase is not Phase.OVER]

    def calls(self, program: str) -> list[str]:
        """How the program was called on the host since `forget_calls`."""
        return [call for call in self.host.calls() if call.split()[0] == program]

    def listings(self) -> list[str]:
        """How often the scheduler was asked for its listing since `forget_calls`."""
        assert self.engine
        return [call for call in self.calls(self.engine.listing) if self.engine.listing_words in call]

    def cancel_by_hand(self, *numbers: str) -> None:
        """Cancel the scheduler's jobs without this package; the answer is not looked at."""
        assert self.engine
        line = f"ids='{' '.join(numbers)}'; PATH=/usr/bin:/bin; {self.engine.scheduler.cancel}"
        self.host.run("sh", "-c", line, check=False)

    def empty_queue(self) -> None:
        """Cancel all jobs, and wait until they have left: the next test has the same queue."""
        if alive := self.alive():
            self.cancel_by_hand(*alive)
            processes.wait_until(lambda: not self.alive(), f"an empty queue, without {alive}", 60)

    def release_job(self, job: JobRef) -> None:
        """Release a job that was submitted with the option `hold`."""
        assert self.engine
        self.engine.release(self.host, self.number(job))
