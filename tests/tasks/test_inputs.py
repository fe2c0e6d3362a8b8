"""Inputs of jobs: what `requires` delivers is on the host, sent once, and never half there."""

from __future__ import annotations

import logging
import os

import luigi
import luigi.mock
import pytest

import luigi_sshjob
from luigi_sshjob import RemoteJobTask, RemoteTarget
from luigi_sshjob.cli.main import main
from luigi_sshjob.errors import ConfigurationError, ConnectionLost, FileMissing, LocalFileError
from luigi_sshjob.jobs.claims import Claims
from luigi_sshjob.jobs.model import job_key
from luigi_sshjob.jobs.spec import JobSpec
from luigi_sshjob.tasks.inputs import TaskInputs

from support.sample_tasks import Local
from support.settings import both_transports

WAIT = "while ! [ -e go ]; do sleep 0.1; done"


class There(luigi.ExternalTask):
    host = luigi.Parameter()
    path = luigi.Parameter()
    transport = luigi.Parameter(default="")

    def output(self):
        return RemoteTarget(self.path, self.host, **({"transport": self.transport} if self.transport else {}))


class Reading(RemoteJobTask):
    """Runs a command with the inputs of other tasks, and with more paths."""

    host = luigi.Parameter()
    folder = luigi.Parameter()
    name = luigi.Parameter(default="out")
    script = 'cat "$SSHJOB_INPUT" >"$SSHJOB_OUTPUT"'
    needed = more = None

    @property
    def base_dir(self):
        return f"{self.folder}/base"

    def requires(self):
        return self.needed or []

    def inputs(self):
        return self.more or self.input()

    def command(self):
        return self.script

    def output(self):
        return self.remote_target(f"{self.folder}/{self.name}")


@pytest.fixture(autouse=True)
def information(caplog):
    """Luigi sets this level only when it runs tasks itself."""
    caplog.set_level(logging.INFO, "luigi-interface")


@pytest.fixture
def reading(host, folder):
    def make(name="out", **attributes):
        task = Reading(host=host.alias, folder=folder, name=name)
        vars(task).update(attributes)
        return task

    return make


def spec() -> JobSpec:
    return JobSpec(key="Task", command="true")


def cached(host, folder) -> list[str]:
    """The names in the cache of the host."""
    return host.run("sh", "-c", f"ls -A {folder}/base/cache 2>/dev/null || true").split()


def result(task) -> str:
    with task.output().open() as file:
        return file.read()


@pytest.mark.core
@both_transports
def test_what_requires_delivers_is_there_for_the_command(host, folder, reading, tmp_path, build):
    (tmp_path / "a b'\n$(x).txt").write_text("some words\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("in a directory\n")
    host.run("sh", "-c", f"echo on the host >{folder}/there")
    needed = {
        "text": Local(str(tmp_path / "a b'\n$(x).txt")),
        "a-tree": [Local(str(tmp_path / "tree")), There(host.alias, f"{folder}/there")],
    }
    script = """
        cat "$SSHJOB_INPUT_TEXT" "$SSHJOB_INPUT_A_TREE_0/file" "$SSHJOB_INPUT_A_TREE_1" >"$SSHJOB_OUTPUT"
        printf '%s\\n' "${SSHJOB_INPUT_TEXT##*/}" "${SSHJOB_INPUT_A_TREE_0##*/}" "$SSHJOB_INPUT_A_TREE_1"
    """
    task = reading(needed=needed, script=script)
    assert build(task)
    assert result(task) == "some words\nin a directory\non the host\n"
    assert task.job.tail() == ["a b'", "$(x).txt", "tree", f"{folder}/there"]
    assert len(cached(host, folder)) == 2


def test_inputs_may_be_overridden_to_add_paths(reading, tmp_path, build):
    (tmp_path / "a.yml").write_text("key: value\n")
    (tmp_path / "data").write_text("data\n")
    more = {"config": tmp_path / "a.yml", "data": str(tmp_path / "data"), "none": None}
    task = reading(more=more, script='cat "$SSHJOB_INPUT_CONFIG" "$SSHJOB_INPUT_DATA" >"$SSHJOB_OUTPUT"')
    assert build(task)
    assert result(task) == "key: value\ndata\n"


def test_a_parameter_may_be_called_inputs(host, folder, tmp_path, build):
    class Named(RemoteJobTask):
        host = luigi.Parameter()
        folder = luigi.Parameter()
        inputs = luigi.ListParameter(default=[1, 2])

        def requires(self):
            return Local(str(tmp_path / "file"))

        def command(self):
            return 'cat "$SSHJOB_INPUT" >"$SSHJOB_OUTPUT"'

        def output(self):
            return self.remote_target(f"{self.folder}/named")

    (tmp_path / "file").write_text("words\n")
    task = Named(host.alias, folder)
    vars(task)["base_dir"] = f"{folder}/base"
    assert build(task)
    assert result(task) == "words\n"


@pytest.mark.needs("logins")
def test_an_output_on_another_host_is_copied(host, folder, reading, tmp_path, build):
    (tmp_path / "there").write_text("of another host\n")
    task = reading(needed=There("localhost", str(tmp_path / "there"), "local"))
    assert build(task)
    assert result(task) == "of another host\n"
    assert len(cached(host, folder)) == 1


def test_the_record_and_log_of_a_job_on_another_host_are_not_copied(host, folder, reading, tmp_path):
    class Default(RemoteJobTask):
        host = "localhost"
        transport = "local"
        base_dir = str(tmp_path / "other base")

        def command(self):
            return "true"

    task = reading(needed=Default())
    inputs = TaskInputs(task.input(), task.remote_context, task.base_dir, default=True)
    assert inputs.add_to(spec()).inputs == ()


def test_two_hundred_jobs_share_one_transfer_and_a_second_run_sends_nothing(host, folder, reading, tmp_path, caplog):
    (tmp_path / "shared").write_bytes(os.urandom(50_000_000))
    needed = Local(str(tmp_path / "shared"))
    tasks = [
        reading(name=str(number), needed=needed, script='wc -c <"$SSHJOB_INPUT" >"$SSHJOB_OUTPUT"')
        for number in range(200)
    ]
    assert luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=200)
    assert {result(task).strip() for task in tasks[::50]} == {"50000000"}
    assert caplog.text.count("sending the input") == 1
    (entry,) = cached(host, folder)
    assert host.run("stat", "-c", "%h", f"{folder}/base/cache/{entry}/content") == "201\n"
    for task in tasks:
        task.output().remove()
    assert luigi_sshjob.build(tasks, local_scheduler=True, remote_jobs=200)
    assert caplog.text.count("sending the input") == 1


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_submission_whose_response_is_lost_is_repeated_with_its_inputs(reading, tmp_path, monkeypatch, lost):
    """The search for an attempt, the claim that shows what the host lacks, and the claim that gets it."""
    (tmp_path / "input").write_text("words\n")
    claim, made = Claims.claim, []

    def unheard(*arguments, **options):
        found = claim(*arguments, **options)
        made.append(found.kind)
        if len(made) == lost + 1:
            raise ConnectionLost("the response was lost")
        return found

    monkeypatch.setattr(Claims, "claim", unheard)
    task = reading(more=tmp_path / "input")
    task.run()
    assert made[: lost + 1] == ["lacking", "lacking", "claimed"][: lost + 1]
    assert result(task) == "words\n"


def test_a_running_job_is_attached_to_also_if_its_input_is_gone(host, folder, reading, tmp_path):
    (tmp_path / "input").write_text("first\n")
    script = f'cd {folder}; {WAIT}; cat "$SSHJOB_INPUT" >"$SSHJOB_OUTPUT"'
    task = reading(more=tmp_path / "input", script=script)
    task.prepare_run().submit()
    (tmp_path / "input").unlink()
    host.run("touch", f"{folder}/go")
    task.run()
    assert result(task) == "first\n"


def test_a_run_that_attaches_sends_nothing(host, folder, reading, tmp_path, caplog):
    (tmp_path / "input").write_text("first\n")
    script = f'cd {folder}; {WAIT}; cat "$SSHJOB_INPUT" >"$SSHJOB_OUTPUT"'
    task = reading(needed=Local(str(tmp_path / "input")), script=script)
    task.prepare_run().submit()
    (tmp_path / "input").write_text("second\n")
    again = task.prepare_run()
    again.submit()
    assert caplog.text.count("sending the input") == 1
    host.run("touch", f"{folder}/go")
    assert again.finish(again.monitor.wait(again.job, again.observe))
    assert result(task) == "first\n"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda path: path / "missing",
            FileMissing,
            r"while preparing its inputs: no such file .*missing[\s\S]*Next: ",
        ),
        (lambda _: 5, ConfigurationError, r"an input must be a target or a path: 5\nNext: "),
        (lambda path: {"a-b": path, "a_b": path}, ConfigurationError, "two inputs or outputs would share a variable"),
        (lambda _: "/dev/null", LocalFileError, "not a regular file, directory or link: /dev/null"),
    ],
)
def test_an_input_that_cannot_be_sent_is_an_error_that_names_host_and_job(
    host, folder, reading, tmp_path, make, error, text
):
    (tmp_path / "file").touch()
    task = reading(more=make(tmp_path / "file" if error is ConfigurationError else tmp_path))
    with pytest.raises(error, match=text) as caught:
        task.run()
    assert (caught.value.host, caught.value.job) == (host.alias, job_key(task.task_id))
    assert cached(host, folder) == []


def test_of_too_many_inputs_none_gets_a_variable(reading, tmp_path, caplog):
    task = reading(more=[tmp_path] * 1001)
    assert TaskInputs(task.inputs(), task.remote_context, task.base_dir).add_to(spec()).inputs == ()
    assert "more than 1,000 inputs" in caplog.text


def test_what_requires_delivers_is_never_an_error_of_its_own(host, folder, tmp_path, caplog):
    (tmp_path / "file").write_text("words\n")
    target, missing = luigi.LocalTarget(str(tmp_path / "file")), luigi.LocalTarget(str(tmp_path / "missing"))

    class Any(luigi.ExternalTask):
        def output(self):
            return {"a": {target}, "A": target, "gone": missing, "object": object(), "values": {"x": iter([target])}}

    class Plain(Reading):
        inputs = RemoteJobTask.inputs
        needed = Any()
        script = 'cat "$SSHJOB_INPUT_A_0" "$SSHJOB_INPUT_VALUES_X_0" >"$SSHJOB_OUTPUT"'

    task = Plain(host=host.alias, folder=folder)
    task.run()
    assert result(task) == "words\nwords\n"
    assert f"an input does not exist, and gets no variable: {missing.path}" in caplog.text


def test_a_target_that_is_no_file_gets_no_variable(reading):
    task = reading(more={"table": luigi.mock.MockTarget("table")})
    assert TaskInputs(task.inputs(), task.remote_context, task.base_dir).add_to(spec()).inputs == ()


@pytest.mark.parametrize("used", ["known", "lost"])
def test_gc_removes_inputs_that_no_attempt_has(host, folder, reading, tmp_path, capsys, used):
    (tmp_path / "input").write_text("words\n")
    task = reading(needed=Local(str(tmp_path / "input")))
    task.run()
    if used == "lost":
        host.run("sh", "-c", f"rm {folder}/base/cache/*/used")
    gc = ["gc", "--older-than", "0s", "--base-dir", f"{folder}/base", host.alias]
    assert main([*gc, "--dry-run"]) == 0
    assert "1 unused inputs would be removed from the cache" in capsys.readouterr().err
    assert main(gc) == 0
    assert "1 unused inputs removed from the cache" in capsys.readouterr().err
    assert cached(host, folder) == []
