"""Jobs on the cluster of the tests."""

from __future__ import annotations

import contextlib

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.registry import get_launcher
from luigi_sshjob.jobs.model import State
from luigi_sshjob.jobs.monitor import JobMonitor
from luigi_sshjob.retry import Retry

from support import processes
from support.jobs import Bench

# Kills the processes that wait for the response, up to the shell that serves the requests.
KILL_AFTER = r"""
/usr/bin/sbatch "$@" >/dev/null
parent=$PPID
while tr '\0' ' ' </proc/$parent/cmdline | grep -qx '/bin/sh -s '; do
  next=$(awk '{print $4}' /proc/$parent/stat)
  kill -9 $parent
  parent=$next
done
touch /var/tmp/hit
"""


REFUSE_ARRAYS = """
case "$*" in
  *--array=*) echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1 ;;
esac
exec /usr/bin/sbatch "$@"
"""


@contextlib.contextmanager
def faulty(host, program, script):
    """While the block runs, the script replaces the program."""
    place = f"/usr/local/bin/{program}"
    host.run("sh", "-c", f"mv {place} {place}.good; rm -f /var/tmp/hit", user="root")
    host.run("sh", "-c", f"cat >{place}; chmod 755 {place}", user="root", input=f"#!/bin/sh\n{script}")
    try:
        yield
    finally:
        # the next test has the same cluster
        host.run("sh", "-c", f"mv -f {place}.good {place}; rm -f /var/tmp/hit", user="root")


class SlurmBench(Bench):
    launcher = "slurm"
    interval = 1

    @property
    def monitor(self) -> JobMonitor:
        return JobMonitor(self.client, Retry(60), poll_interval=0.3, start_timeout=3, launches=100)

    def submit(self, command: str, *, options=None, batch=1, time_limit=0, kill_grace=2, **request):
        launch_options = LaunchOptions(options or {}, batch, time_limit, kill_grace, self.interval)
        launch = get_launcher("slurm").launch(launch_options)
        return super().submit(command, launch=launch, time_limit=time_limit, kill_grace=kill_grace, **request)

    def submit_many(self, count, command):
        """Submit them as one array."""
        jobs = []
        for number in range(count):
            self.key = f"Element_{number}"
            jobs.append(self.submit(command, batch=count).job)
        return jobs

    def known_to_slurm(self, job):
        """The Slurm job ids of this attempt."""
        jobs = self.host.slurm("squeue", "--noheader", "--states=all", f"--name={job.id}", "--format=%i|%Z")
        return [number for number, _, place in (line.partition("|") for line in jobs.split()) if place == job.directory]

    def number(self, job):
        """The Slurm job id."""
        return self.host.run("cat", f"{job.directory}/scheduler_id").strip()


def state(slurm, job):
    return slurm.client.status(job)


def ends(slurm, job):
    """The outcome, and the states that were observed before."""
    observed = []
    outcome = slurm.monitor.wait(job, lambda seen: observed.append((seen.state, seen.reason)))
    slurm.client.collect(job)
    return outcome, observed


def all_end(slurm, jobs, seconds=70):
    """The outcomes of all jobs."""

    def look():
        ended.update((job, outcome) for job in jobs if (outcome := slurm.client.status(job).outcome))
        return len(ended) == len(jobs)

    ended = {}
    try:
        processes.wait_until(look, "the end of all jobs", seconds)
    except TimeoutError as error:
        left = {job: state(slurm, job) for job in jobs if job not in ended}
        diagnostics = [f"{job.id}: {seen.state.value}, {seen.reason}" for job, seen in left.items()]
        raise TimeoutError("\n".join([str(error), *diagnostics[:10], slurm.host.diagnostics()])) from None
    return [ended[job] for job in jobs]


def running(slurm, command="while :; do sleep 0.2; done", **request):
    """A running job and its Slurm job id."""
    job = slurm.submit(command, **request).job
    processes.wait_until(lambda: state(slurm, job).state is State.RUNNING, "the job to run", 30)
    return job, slurm.number(job)
