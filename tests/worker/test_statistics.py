"""What a job has used, as Luigi's scheduler receives it and luigid shows it to Prometheus."""

from __future__ import annotations

import re
import time
import urllib.request

import luigi
import luigi.scheduler
import pytest

import luigi_sshjob
from luigi_sshjob.jobs.model import JobRef
from luigi_sshjob.jobs.outcome import Outcome
from luigi_sshjob.tasks.statistics import statistics_of

from support.doc_examples import blocks
from support.recording_tasks import Noted
from support.settings import configure
from support.worker_runs import set_option

pytestmark = pytest.mark.skipif(
    not hasattr(luigi.scheduler.Scheduler, "report_task_statistics"), reason="Luigi 3.6 has no statistics"
)

COLLECTOR = """
[scheduler]
metrics_collector = custom
metrics_custom_import = luigi_sshjob.prometheus.JobMetricsCollector
"""
WITHOUT_STATISTICS = "import luigi.scheduler; del luigi.scheduler.RPC_METHODS['report_task_statistics']"
BURN = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; printf 12345"


@pytest.fixture
def collecting_luigid(luigi_cfg, request) -> int:
    """Port of a luigid with the collector."""
    luigi_cfg.path.write_text(luigi_cfg.path.read_text() + COLLECTOR)
    return request.getfixturevalue("luigid")


@pytest.fixture
def run(remote_jobs):
    """Runs tasks with a luigid."""

    def run(port: int, *tasks: luigi.Task) -> bool:
        options = {"scheduler_host": "127.0.0.1", "scheduler_port": port}
        if remote_jobs is None:
            return luigi.build(tasks, workers=2, **options)
        return luigi_sshjob.build(tasks, remote_jobs=remote_jobs, **options)

    return run


def metrics(port: int) -> dict[str, float]:
    """The samples of this package, without the labels of Luigi and the buckets."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    found = re.findall(r'^luigi_sshjob_(\w+)\{family="Noted"(?:,outcome="(\w+)")?\} (\S+)$', text, re.MULTILINE)
    return {
        name + (f" {outcome}" if outcome else ""): float(value)
        for name, outcome, value in found
        if not name.endswith("_created")
    }


def test_luigid_shows_prometheus_what_jobs_have_used(collecting_luigid, run, some):
    assert not run(collecting_luigid, some(Noted, 0, BURN), some(Noted, 1, f"sleep 2; {BURN}; false"))
    shown = metrics(collecting_luigid)
    assert 0.05 < shown.pop("job_cpu_seconds_total") < 60
    assert 2 <= shown.pop("job_run_seconds_sum") < 60
    assert 2 * 100_000 < shown.pop("job_peak_memory_bytes_sum") < 2 * (1 << 30)
    # no job was in a queue, so there is no time in it
    assert shown == {
        "jobs_total succeeded": 1,
        "jobs_total failed": 1,
        "job_log_bytes_total": 10,
        "job_run_seconds_count": 2,
        "job_peak_memory_bytes_count": 2,
    }


def test_nothing_is_shown_of_a_task_that_sends_no_messages(collecting_luigid, run, some):
    configure(send_messages="false")
    assert run(collecting_luigid, some(Noted, 0))
    assert metrics(collecting_luigid) == {}


@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_the_collector_in_the_documentation_receives_each_job(build, some, tmp_path, monkeypatch):
    (example,) = blocks("python", "metrics.rst")
    (tmp_path / example.caption).write_text(example.text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    set_option("scheduler", metrics_collector="custom", metrics_custom_import="ledger.Ledger")
    task = some(Noted, 0)
    assert build(task)
    assert re.fullmatch(rf"{task.job.id} succeeded 0\.\d+\n", (tmp_path / "ledger.txt").read_text())


@pytest.mark.parametrize("luigid", [WITHOUT_STATISTICS], indirect=True, ids=["an older luigid"])
def test_a_luigid_without_statistics_neither_delays_a_task_nor_fails_it(luigid, run, some, caplog):
    """Luigi would try again after half a minute."""
    began = time.monotonic()
    assert run(luigid, some(Noted, 0))
    assert time.monotonic() - began < 20
    assert "Failed connecting" not in caplog.text


def test_an_unknown_value_is_missing_and_a_known_0_is_not():
    record = (
        "outcome: failed\nexit_code: 3\nstarted: 2030-01-01T10:00:00Z\nended: 2030-01-01T10:00:00Z\n"
        "log_bytes: 0\ncpu_time: 0m0.01s 0m0.02s\npeak_memory: \nqueue_time: 12 s\nmachine: c1"
    )
    job, names = JobRef("here", "Task", 1, "/jobs/Task/1"), {"host": "here", "job": "Task/1"}
    assert statistics_of(job, Outcome.parse(record)) == {
        **names,
        "outcome": "failed",
        "exit_code": 3,
        "log_bytes": 0,
        "cpu_seconds": 0.03,
        "run_seconds": 0,
        "queue_seconds": 12,
    }
    set_back = record.replace("ended: 2030-01-01T10:00:00Z", "ended: 2030-01-01T09:59:59Z")
    assert "run_seconds" not in statistics_of(job, Outcome.parse(set_back))
    assert statistics_of(job, Outcome.lost("gone")) == {**names, "outcome": "lost"}
