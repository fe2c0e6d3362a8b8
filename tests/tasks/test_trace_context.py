"""The trace context of the worker in the environment of its jobs."""

from __future__ import annotations

import luigi
import pytest

from luigi_sshjob import JobEvent, RemoteJobTask
from luigi_sshjob.tasks.trace_context import trace_context

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
ONE, OTHER = f"00-{IDS}-01", f"00-{IDS}-00"


class Traced(RemoteJobTask):
    """Writes the trace context to its output when there is a file `go`."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    environment = luigi.DictParameter(default={})

    def command(self):
        return f"""
            while [ -d {self.folder} ] && ! [ -e {self.folder}/go ]; do sleep 0.1; done
            echo "$TRACEPARENT|$TRACESTATE" >"$SSHJOB_OUTPUT"
        """

    def output(self):
        return self.remote_target(f"{self.folder}/{'own' if self.environment else 'inherited'}")


@Traced.event_handler(JobEvent.ATTACHED)
def release(task, job):
    task.remote_target(f"{task.folder}/go").open("w").close()


def test_a_job_has_the_trace_context_of_its_submission_unless_it_has_its_own(host, folder, build, monkeypatch):
    inherited = Traced(host.alias, folder)
    own = Traced(host.alias, folder, {"TRACEPARENT": "mine"})
    monkeypatch.setenv("TRACEPARENT", ONE)
    monkeypatch.setenv("TRACESTATE", "vendor=a b")
    submitted = inherited.prepare_run().submit()
    # the next run of the task attaches to the job, whatever its own context is
    monkeypatch.setenv("TRACEPARENT", OTHER)
    assert build(inherited, own, workers=2)
    assert inherited.job.id == submitted.id
    assert host.run("cat", f"{folder}/inherited") == f"{ONE}|vendor=a b\n"
    assert host.run("cat", f"{folder}/own") == "mine|\n"


@pytest.mark.parametrize(
    ("parent", "valid"),
    [
        (ONE, True),
        (f"cc-{IDS}-01-what-the-future-brings", True),
        (f"{ONE}-more", False),
        (f"ff-{IDS}-01", False),
        (f"00-{IDS}", False),
        (ONE.upper(), False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", False),
        (f"{ONE}\n", False),
        ("", False),
    ],
)
def test_only_a_parent_as_the_standard_has_it_is_passed_on(parent, valid, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", parent)
    monkeypatch.setenv("TRACESTATE", "vendor=1")
    assert trace_context({}) == ({"TRACEPARENT": parent, "TRACESTATE": "vendor=1"} if valid else {})


def test_a_state_that_is_not_printable_is_left_out(monkeypatch):
    monkeypatch.setenv("TRACEPARENT", ONE)
    monkeypatch.setenv("TRACESTATE", "vendor=\x1b")
    assert trace_context({}) == {"TRACEPARENT": ONE}
