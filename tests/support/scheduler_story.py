"""One job of Slurm, what is said about it, and a clock; without a host and without a scheduler."""

from __future__ import annotations

from luigi_sshjob.jobs.model import JobRef, JobStatus, State
from luigi_sshjob.jobs.scheduled.facts import parse_facts
from luigi_sshjob.jobs.scheduled.schedulers import Schedulers
from luigi_sshjob.ssh.shell.remote_shell import Response, ResponsePart

from support.clock import Clock

JOB = JobRef("host", "Task", 1, "/base/jobs/Task/1")
HEADER = "number: 1\nname: Task/1\ndirectory: /base/jobs/Task/1\ntag: 5\ncount: 1\nindex: -\n"
ACCEPTED = f"{HEADER}status: 0\no77\n"


class Story:
    """The job `JOB`, which was submitted and has the id 77."""

    def __init__(self, monkeypatch, interval=1):
        self.clock = Clock(monkeypatch)
        self.schedulers = Schedulers(interval)
        self.moment = 0
        self.session = "s1"
        self.facts = {}
        self.submission = ACCEPTED
        self.unsettled = ""
        self.acts = []
        self.status = None

    def look(self, log=b"", **facts):
        """The host notifies the client."""
        self.facts.update(facts)
        text = "\n".join(f"{name}: {value}" for name, value in {"scheduler": "slurm", **self.facts}.items())
        known = parse_facts(text, self.submission, self.unsettled, self.moment, self.session)
        return self._judge(JobStatus(State.QUEUED, scheduled=known, log=log))

    def says(self, kind, text, status=0, ids=""):
        """The scheduler has answered a question that was asked now."""
        self.moment += 1
        lines = [f"ids: {ids}"] if ids else []
        lines += [f"status: {status}", *(f"o{line}" for line in text.splitlines())]
        part = ResponsePart(kind, self.moment, "0", "\n".join(lines).encode() + b"\n")
        due = ResponsePart("due", 0, f"1 {self.session}", b"")
        self.schedulers.update("slurm", Response(0, b"", (part, due)))
        return self._judge(None)

    def listing(self, *rows):
        return self.says("listing", "\n".join(rows))

    def denial(self):
        return self.says("query", "job 77\nslurm_load_jobs error: Invalid job id specified\nstatus 1", ids="77")

    def wait(self, seconds):
        self.clock.now += seconds
        return self._judge(None)

    def _judge(self, status):
        verdict = self.schedulers.judge(JOB, status)
        if verdict is None:
            return None
        if verdict.action:
            self.acts.append(verdict.action)
        self.status = verdict.status
        return self.status

    @property
    def done(self):
        return [action.act for action in self.acts]


def row(state, reason="None", job_id="77", nodes="c1", name="Task/1", directory="/base/jobs/Task/1"):
    return f"{job_id}|{state}|N/A|{nodes}|{name}|{directory}|//|{reason}"
