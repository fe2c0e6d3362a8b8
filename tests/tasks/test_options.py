"""A task's attributes and outputs."""

from __future__ import annotations

import datetime
from unittest import mock

import luigi
import luigi.contrib.ssh
import luigi.mock
import luigi.util
import pytest

from luigi_sshjob import RemoteJobTask, RemoteTarget
from luigi_sshjob.errors import ConfigurationError

from support.settings import configure


class Declared(RemoteJobTask):
    host = "box"

    def command(self):
        return "true"


def test_a_missing_or_invalid_attribute_is_an_error(luigi_cfg):
    class NoHost(Declared):
        host = None

    class CommandMissing(RemoteJobTask):
        host = "box"

    class BadCleanup(Declared):
        cleanup = "sometimes"

    class BadLauncher(Declared):
        launcher = "pbs"

    for task in (NoHost(), BadCleanup(), BadLauncher()):
        with pytest.raises(ConfigurationError, match="Next: "):
            task.run()
    with pytest.raises(NotImplementedError, match="must override command"):
        CommandMissing().run()


class Settings(luigi.Task):
    """For `inherits` and `requires`; no class here defines these parameters again."""

    host = luigi.Parameter(default="gpubox")
    transport = luigi.Parameter(default="paramiko")
    launcher = luigi.Parameter(default="slurm")
    time_limit = luigi.FloatParameter(default=60.0)
    environment = luigi.DictParameter(default={"LC_ALL": "C"})
    sbatch_options = luigi.DictParameter(default={"mem": "8G"})
    success_exit_codes = luigi.TupleParameter(default=(0, 3))
    cleanup = luigi.Parameter(default="always")


@pytest.mark.parametrize("decorate", [luigi.util.inherits, luigi.util.requires])
def test_parameters_of_another_task_become_those_of_a_remote_job(luigi_cfg, decorate):
    @decorate(Settings)
    class Job(RemoteJobTask):
        kill_grace = 3

        def command(self):
            return "true"

    assert {name for name, _ in Job.get_params()} == {name for name, _ in Settings.get_params()}
    run = Job(host="box", time_limit=5.0).prepare_run()
    assert run.options.context.host == "box"
    assert run.options.context.destination.transport == "paramiko"
    assert (run.options.time_limit, run.options.kill_grace, run.options.cleanup) == (5.0, 3.0, "always")
    assert run.options.success_exit_codes == (0, 3)
    assert run.spec.environment["LC_ALL"] == "C"
    assert dict(run.options.launch_options.options) == {"mem": "8G"}
    assert Job(host="box").clone(Settings, cleanup="never") == Settings(host="box", cleanup="never")


def test_a_value_of_the_class_is_kept_and_passed_on(luigi_cfg):
    @luigi.util.requires(Settings)
    class Job(Declared):
        time_limit = 7

    job = Job()
    assert (job.host, job.time_limit, job.launcher) == ("box", 7, "slurm")
    assert job.requires() == Settings(host="box", time_limit=7)


def test_a_default_of_a_remote_job_does_not_replace_that_of_another_task(luigi_cfg):
    class Job(Declared):
        def requires(self):
            return self.clone(Settings)

    assert Job().requires() == Settings(host="box")


def test_a_clone_does_not_read_an_attribute_whose_value_is_given(luigi_cfg):
    class Job(Declared):
        @property
        def launcher(self):
            raise RuntimeError("this takes long")

    assert Job().clone(Settings, launcher="sge") == Settings(host="box", launcher="sge")


def test_a_default_can_be_read_and_replaced_on_the_class(luigi_cfg, monkeypatch):
    class Job(Declared):
        environment = {**RemoteJobTask.environment, "LC_ALL": "C"}

    monkeypatch.setattr(Job, "time_limit", 5)
    with mock.patch.object(Job, "transport", "paramiko"):
        assert Job().prepare_run().options.context.destination.transport == "paramiko"
    run = Job().prepare_run()
    assert (run.options.time_limit, run.options.context.destination.transport) == (5.0, None)


def test_attributes_may_be_parameters_properties_or_defaults_of_the_section(luigi_cfg):
    class Mixed(Declared):
        time_limit = luigi.FloatParameter(default=60)

        @property
        def environment(self):
            return {"A": "b"}

    configure(kill_grace=3)
    spec = Mixed().prepare_run().spec.spec_text()
    assert "time_limit=60" in spec
    assert "kill_grace=3" in spec
    assert Mixed().prepare_run().spec.environment == {"A": "b"}


def test_a_parameter_that_is_added_to_a_class_or_replaced_counts(luigi_cfg):
    """Luigi allows both at any time."""

    class Base(Declared):
        first = luigi.IntParameter(default=1)

    class Extended(Base):
        pass

    assert [name for name, _ in Extended.get_params()] == ["first"]
    Extended.second = luigi.IntParameter(default=2)
    assert [name for name, _ in Extended.get_params()] == ["first", "second"]
    Base.first = another = luigi.IntParameter(default=3)
    assert Extended.get_params() == [("second", Extended.second), ("first", another)]
    del Extended.second
    assert Extended.get_params() == [("first", another)]


def test_a_task_follows_its_options(luigi_cfg):
    """Contexts are kept by their content."""
    task = Declared()
    task.ssh_options = {"username": "me"}
    assert str(task.remote_context.destination) == "me@box"
    task.ssh_options["port"] = 2222
    assert str(task.remote_context.destination) == "me@box:2222"
    task.host = "another"
    assert str(task.remote_context.destination) == "me@another:2222"
    for password in (lambda _: "one", lambda _: "two"):
        task.ssh_options = {"password": password}
        assert task.remote_context.destination.password is password


@pytest.mark.parametrize(
    ("setting", "value"), [("poll_interval", 0), ("max_sessions", "-1"), ("cleanup", "x"), ("time_limit", "soon")]
)
def test_an_invalid_setting_is_an_error_of_the_task(luigi_cfg, setting, value):
    configure(**{setting: value})
    with pytest.raises(ConfigurationError, match=r"\[sshjob\]"):
        Declared().complete()


def test_outputs_get_a_variable_each(luigi_cfg):
    class One(Declared):
        def output(self):
            return self.remote_target("/data/one")

    class Several(Declared):
        def output(self):
            return {
                "counts": self.remote_target("/data/counts"),
                "top-10": self.remote_target("/data/top"),
                "parts": [self.remote_target("/data/p0"), self.remote_target("/data/p1")],
            }

    class Listed(Declared):
        def output(self):
            return [self.remote_target("/data/a"), self.remote_target("/data/b")]

    def outputs(task):
        return [(output.variable, output.path) for output in task.prepare_run().spec.outputs]

    assert outputs(Declared()) == []
    assert Declared().prepare_run().spec.publish
    assert outputs(One()) == [("SSHJOB_OUTPUT", "/data/one")]
    assert not One().prepare_run().spec.publish
    assert outputs(Several()) == [
        ("SSHJOB_OUTPUT_COUNTS", "/data/counts"),
        ("SSHJOB_OUTPUT_TOP_10", "/data/top"),
        ("SSHJOB_OUTPUT_PARTS_0", "/data/p0"),
        ("SSHJOB_OUTPUT_PARTS_1", "/data/p1"),
    ]
    assert outputs(Listed()) == [("SSHJOB_OUTPUT_0", "/data/a"), ("SSHJOB_OUTPUT_1", "/data/b")]


def test_outputs_next_to_the_default_ones_keep_their_keys(luigi_cfg):
    class More(Declared):
        def output(self):
            return {**super().output(), "data": self.remote_target("/data/x")}

    request = More().prepare_run().spec
    assert request.publish
    assert [(output.variable, output.path) for output in request.outputs] == [("SSHJOB_OUTPUT_DATA", "/data/x")]


@pytest.mark.parametrize(
    "target",
    [luigi.mock.MockTarget("x"), RemoteTarget("/x", "other"), luigi.contrib.ssh.RemoteTarget("/x", "box")],
)
def test_an_output_that_the_command_cannot_make_is_an_error(luigi_cfg, target):
    class Elsewhere(Declared):
        def output(self):
            return {"there": self.remote_target("/data/x"), "elsewhere": target}

    class MakesItItself(Elsewhere):
        def run(self):
            super().run()

    problem = r"neither on the job's host nor a local file[\s\S]*self.remote_target"
    with pytest.raises(ConfigurationError, match=problem):
        Elsewhere().prepare_run()
    assert [output.path for output in MakesItItself().prepare_run().spec.outputs] == ["/data/x"]


def test_a_local_output_comes_back_unless_the_task_makes_it_itself(luigi_cfg):
    class Local(Declared):
        def output(self):
            return {"there": self.remote_target("/data/x"), "here": luigi.LocalTarget("/tmp/y")}

    class MakesItItself(Local):
        def run(self):
            super().run()

    spec = Local().prepare_run().spec
    assert [(output.variable, output.path) for output in spec.outputs] == [("SSHJOB_OUTPUT_THERE", "/data/x")]
    assert [(output.variable, output.local_path) for output in spec.returned] == [("SSHJOB_OUTPUT_HERE", "/tmp/y")]
    assert MakesItItself().prepare_run().spec.returned == ()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("time_limit", "1h"),
        ("kill_grace", "soon"),
        ("poll_interval", 0),
        ("poll_interval", "x"),
        ("success_exit_codes", "no"),
        ("environment", ["A=b"]),
    ],
)
def test_an_invalid_attribute_is_an_error_before_anything_is_sent(luigi_cfg, attribute, value):
    task = type("Odd", (Declared,), {attribute: value})()
    with pytest.raises(ConfigurationError, match=r"host box, job Odd_[\s\S]*Next: "):
        task.run()


def test_times_may_be_timedeltas_and_one_exit_code_a_number(luigi_cfg):
    class Timed(Declared):
        time_limit = datetime.timedelta(minutes=2)
        success_exit_codes = 3

    request = Timed().prepare_run().spec
    assert (request.time_limit, request.success_exit_codes) == (120, (3,))
