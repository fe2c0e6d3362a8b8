"""The recorder: pipelines run without a host, and end as the test says."""

from __future__ import annotations

import os

import luigi
import pytest

import luigi_sshjob
from luigi_sshjob import JobEvent, Outcome, RemoteBulkComplete, RemoteContext, RemoteJobTask, RemoteTarget
from luigi_sshjob.errors import ConfigurationError, JobFailed, JobLost
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.testing import record_jobs


class Prepare(RemoteBulkComplete, RemoteJobTask):
    day = luigi.IntParameter()
    host = "store"
    project = "."

    def command(self):
        return f"prepare {self.day} >$SSHJOB_OUTPUT_TABLE"

    def output(self):
        return {"table": self.remote_target(f"/data/{self.day}.csv"), "notes": self.remote_target(f"{self.day}.txt")}


class Train(RemoteJobTask):
    """Its outputs are the default ones: exit record and log."""

    host = "me@gpu:2222"
    transport = "paramiko"
    launcher = "slurm"
    sbatch_options = {"gres": "gpu:1"}
    environment = {"TOKEN": "secret"}
    working_directory = "work"
    time_limit = 3600
    success_exit_codes = (3, 4)

    def requires(self):
        return [Prepare(1), Prepare(2)]

    def command(self):
        return "train " + " ".join(target["table"].path for target in self.input())


class Report(luigi.Task):
    """A local task."""

    def requires(self):
        return Train()

    def output(self):
        return RemoteTarget("~/report", "store")

    def run(self):
        with self.output().open("w") as report:
            report.write(self.input()["log"].open().read().upper())


@pytest.fixture
def recorder():
    with record_jobs() as recorder:
        yield recorder


@pytest.fixture
def failures():
    """The errors of tasks that fail."""
    seen = {}

    @luigi.Task.event_handler(luigi.Event.FAILURE)
    def note(task, error):
        seen[task.task_family] = error

    yield seen
    luigi.Task.remove_event_handler(luigi.Event.FAILURE, note)


@pytest.fixture(params=["luigi.build", "luigi_sshjob.build"])
def run(request, recorder):
    """Runs tasks with Luigi's worker, or with that of this package, which runs jobs in threads."""
    if request.param == "luigi.build":
        return recorder.run
    return lambda *tasks: luigi_sshjob.build(tasks, local_scheduler=True, detailed_summary=True)


@pytest.mark.core
def test_a_pipeline_runs_in_order_with_what_would_have_been_submitted(recorder, run):
    recorder.write(Prepare, {"table": "a,b\n"})
    recorder.succeed(Train, log="loss 0.1\n")
    assert run(Report()).status is luigi.LuigiStatusCode.SUCCESS
    assert sorted(job.task.day for job in recorder.of(Prepare)) == [1, 2]
    assert len(recorder.jobs) == 3
    job = recorder.jobs[-1]
    assert (job.task, job.host, job.attempt) == (Train(), "me@gpu:2222", 1)
    assert job.command == "train /data/1.csv /data/2.csv"
    assert job.environment == {"TOKEN": "secret"}
    assert "secret" not in repr(job)
    assert (job.launcher, job.launcher_options) == ("slurm", {"gres": "gpu:1"})
    assert (job.working_directory, job.time_limit, job.success_exit_codes) == ("work", 3600, (3, 4))
    assert job.outcome.succeeded
    assert recorder.of(Prepare(1))[0].working_directory == "$SSHJOB_PROJECT"
    assert recorder.of(Prepare(1))[0].outputs == {
        "SSHJOB_OUTPUT_TABLE": "/data/1.csv",
        "SSHJOB_OUTPUT_NOTES": "1.txt",
    }
    assert Prepare(1).output()["table"].open().read() == "a,b\n"
    assert Prepare(1).output()["notes"].open().read() == ""
    assert Report().output().open().read() == "LOSS 0.1\n"
    assert Train().complete()
    assert Train().job.exit_code.open().read() == "3\n"


@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [
        (lambda recorder: recorder.fail("Train", 2, log="started\nout of memory\n"), JobFailed, "exit code 2"),
        (lambda recorder: recorder.lose(Train, "the power failed", log="out of memory"), JobLost, "the power failed"),
    ],
    ids=["failed", "lost"],
)
def test_a_bad_end_is_an_error_with_the_log_and_dependents_do_not_run(recorder, run, failures, end, kind, text):
    end(recorder)
    assert run(Report()).status is luigi.LuigiStatusCode.FAILED
    assert type(failures["Train"]) is kind
    assert text in str(failures["Train"])
    assert "| out of memory" in str(failures["Train"])
    assert not Train().complete()
    assert not Report().complete()
    recorder.succeed(Train)
    assert run(Report()).status is luigi.LuigiStatusCode.SUCCESS
    assert [job.attempt for job in recorder.of(Train)] == [1, 2]
    assert len(recorder.of(Prepare)) == 2


class Watched(Prepare):
    """The test handles its events."""


def test_handlers_of_events_are_called_in_the_order_of_a_run_on_a_host(recorder, run):
    seen = []

    def note(event):
        @Watched.event_handler(event)
        def handler(task, job):
            seen.append((task.day, event, getattr(job, "id", None)))

    for event in (JobEvent.SUBMITTED, JobEvent.STARTED, JobEvent.LOST, luigi.Event.FAILURE):
        note(event)
    recorder.lose(Watched(2))
    run(Watched(1))
    run(Watched(2))
    first, second = (f"{job_key(Watched(day).task_id)}/1" for day in (1, 2))
    assert seen == [
        (1, JobEvent.SUBMITTED, first),
        (1, JobEvent.STARTED, first),
        (2, JobEvent.SUBMITTED, second),
        (2, JobEvent.STARTED, second),
        (2, JobEvent.LOST, second),
        (2, luigi.Event.FAILURE, None),
    ]


def test_the_last_rule_for_a_task_applies_and_functions_decide_for_each_job(recorder):
    recorder.fail(Prepare, lambda job: job.task.day)
    recorder.fail(Prepare(3), 0)
    recorder.write("Prepare", lambda job: job.command)
    recorder.fail(Train, 4)  # one of its success_exit_codes
    recorder.run(Prepare(2), Prepare(3))
    assert [Prepare(day).complete() for day in (2, 3)] == [False, True]
    assert Prepare(3).output()["notes"].open().read() == "prepare 3 >$SSHJOB_OUTPUT_TABLE"
    recorder.fail(Prepare, lambda job: int(job.attempt == 1))
    recorder.run(Train())
    recorder.run(Train())
    assert recorder.of(Train)[0].outcome.exit_code == 4
    assert Train().complete()


def test_each_host_has_its_own_files_and_no_path_leaves_their_directory(recorder, tmp_path):
    (tmp_path / "inside").write_text("of this machine")
    assert not RemoteTarget(f"{tmp_path}/inside", "one").exists()
    for path in (f"{tmp_path}/inside", "../../../../../../etc/hostname", "~root/x", "/"):
        target = RemoteTarget(f"{path}/new", "one")
        with target.open("w") as file:
            file.write("recorded")
        assert target.exists()
        assert not RemoteTarget(target.path, "two").exists()
    assert (tmp_path / "inside").read_text() == "of this machine"
    assert Prepare.bulk_complete([1]) == []


def test_a_job_of_a_pool_is_recorded_for_its_first_host(recorder):
    class Pooled(RemoteJobTask):
        host = ["gpu01", "gpu02"]

        def command(self):
            return "true"

    assert not Pooled().complete()
    assert recorder.run(Pooled()).scheduling_succeeded
    assert Pooled().complete()
    assert [job.host for job in recorder.jobs] == ["gpu01"]


def test_it_refuses_what_needs_a_host(recorder):
    recorder.run(Prepare(1))
    for name, call in {
        "check_output": lambda: RemoteContext("store").check_output(["rm", "-rf", "/"]),
        "check_output_argv": lambda: RemoteContext("store").check_output_argv(["rm", "-rf", "/"]),
        "Popen": lambda: RemoteContext("store").Popen(["true"]),
        "tunnel": lambda: RemoteContext("store").tunnel(0, 80).__enter__(),
        "outcome": lambda: Prepare(1).job.outcome(),
        "tail": lambda: Prepare(1).job.tail(),
        "cancel": lambda: Prepare(1).job.cancel(),
        "job": lambda: Prepare(2).job,
    }.items():
        with pytest.raises(
            ConfigurationError, match=rf"host store.*the recorder has no host that could do this: {name}\n"
        ):
            call()
    RemoteContext("store").close()


def test_a_mistake_in_a_rule_is_an_error(recorder, failures):
    with pytest.raises(luigi.task_register.TaskClassNotFoundException, match="Prepare"):
        recorder.fail("Prepar")
    with pytest.raises(ConfigurationError, match="the recorder cannot select tasks by 7"):
        recorder.fail(7)
    recorder.write(Prepare, {"tab": ""})
    recorder.run(Prepare(1))
    assert "an output that the task does not have: SSHJOB_OUTPUT_TAB\n" in str(failures["Prepare"])
    recorder.write(Prepare, lambda job: 7)
    recorder.run(Prepare(1))
    assert "the recorder needs a str or bytes as content, not 7" in str(failures["Prepare"])
    assert not Prepare(1).complete()


class Loud(Prepare):
    """Luigi forks for it, because it has a `run` of its own."""

    def run(self):
        super().run()


def test_a_job_in_another_process_is_an_error_not_lost(recorder, failures, monkeypatch):
    assert recorder.run(Loud(1)).status is luigi.LuigiStatusCode.SUCCESS
    assert luigi_sshjob.build([Loud(2)], local_scheduler=True) is False
    assert [job.task.day for job in recorder.jobs] == [1]
    # the error itself is in the other process
    monkeypatch.setattr(recorder, "_process", os.getppid())
    recorder.run(Loud(3))
    assert "the recorder belongs to another process" in str(failures["Loud"])


def test_the_recorder_leaves_no_trace(recorder):
    recorder.run(Train())
    assert Train().complete()
    task = Train()
    with record_jobs() as other:
        assert Train() is not task
        assert not Train().complete()
        assert other.jobs == []
    assert RemoteTarget("/data/1.csv", "store").exists()


class Resilient(RemoteJobTask):
    """Asks for more memory after it ran out of it."""

    host = luigi.Parameter(default="gpu")
    launcher = "slurm"
    retries = {"memory": 2, "lost": 1}

    @property
    def sbatch_options(self):
        return {"mem": f"{4 if self.previous else 2}G"}

    def command(self):
        return f"after {self.previous.cause}" if self.previous else "first"


def test_retries_follow_at_once_and_see_how_the_attempt_before_has_ended(recorder, run, failures):
    ends = {1: Outcome("killed", 137, "KILL", scheduler="OUT_OF_MEMORY"), 2: Outcome.lost("gone", proved_dead=True)}
    recorder.end(Resilient, lambda job: ends.get(job.attempt), log="more\n")
    assert run(Resilient()).status is luigi.LuigiStatusCode.SUCCESS
    jobs = recorder.of(Resilient)
    assert [(job.command, job.launcher_options["mem"]) for job in jobs] == [
        ("first", "2G"),
        ("after memory", "4G"),
        ("after lost", "4G"),
    ]
    assert [job.previous and job.previous.label for job in jobs] == [None, "memory 1/2", "lost 1/1"]
    # the next task has its own retries, and what is not allowed again fails
    recorder.lose(Resilient("other"))
    assert run(Resilient("other")).status is luigi.LuigiStatusCode.FAILED
    assert len(recorder.of(Resilient("other"))) == 2
    assert type(failures["Resilient"]) is JobLost


class Wandering(Resilient):
    """It would run somewhere else."""

    @property
    def base_dir(self):
        return "/elsewhere" if self.previous else "/jobs"


def test_a_retry_on_another_host_is_an_error(recorder, run, failures):
    recorder.lose(Wandering)
    run(Wandering())
    assert len(recorder.jobs) == 1
    assert isinstance(failures["Wandering"], ConfigurationError)
    assert "a retry must be on the same host, in the same base_dir: gpu, /elsewhere" in str(failures["Wandering"])
