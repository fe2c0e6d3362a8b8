"""Python functions as jobs: the value, the traceback, and what cannot be sent is refused before the submission."""

from __future__ import annotations

import datetime
import decimal
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import luigi
import pytest
from luigi.parameter import ParameterVisibility

from luigi_sshjob import RemotePythonTask
from luigi_sshjob.errors import CommandMissing, ConfigurationError, FileMissing, JobFailed, RemoteCommandFailed
from luigi_sshjob.remote import run_work

pytestmark = pytest.mark.needs("python")
OUTSIDE = 3


class Work(RemotePythonTask):
    """Has the parameters of all tasks below."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    numbers = luigi.ListParameter(default=[1, 2])
    options = luigi.DictParameter(default={"Ä": {"b": [1.5, None]}})
    day = luigi.DateParameter(default=datetime.date(2026, 1, 2))
    secret = luigi.Parameter(default="x", visibility=ParameterVisibility.HIDDEN)
    factor = 10


@pytest.fixture
def make(host, folder):
    return lambda kind, **options: kind(host=host.alias, base_dir=f'{folder}/it\'s "$(x)" 日本', **options)


def run(task) -> Any:
    task.run()
    assert task.complete()
    return task.result()


def failure(task) -> JobFailed:
    with pytest.raises(JobFailed) as caught:
        task.run()
    return caught.value


class Attributes(Work):
    def work(self) -> dict[str, Any]:
        self.total = sum(self.numbers)
        self.total *= self.factor
        text = """first
column, "quoted" and 'quoted' \\ \n 日本"""
        return {"total": self.total, "options": self.options, "text": text, "day": self.day.isoformat()}


@pytest.mark.core
def test_the_value_of_work_is_the_output_and_attributes_are_sent(make):
    task = make(Attributes)
    with pytest.raises(FileMissing):
        task.result()
    text = "first\ncolumn, \"quoted\" and 'quoted' \\ \n 日本"
    expected = {"total": 30, "options": {"Ä": {"b": [1.5, None]}}, "text": text, "day": "2026-01-02"}
    assert run(task) == expected


class Local(luigi.ExternalTask):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)


class Files(Work):
    folder = luigi.Parameter()

    def requires(self):
        return {"words": Local(f"{self.folder}/words"), "more": [Local(f"{self.folder}/words")]}

    def output(self):
        return {"copy": luigi.LocalTarget(f"{self.folder}/copy"), "result": self.result_target}

    def work(self):
        assert not self.output()["copy"].exists()
        with self.input()["words"].open() as words, self.output()["copy"].open("w") as copy:
            copy.write(words.read().upper())
        print("halfway")
        return self.inputs()["more"][0].path


def test_work_reads_inputs_and_writes_outputs(host, make, tmp_path):
    (tmp_path / "words").write_text("three small words")
    task = make(Files, folder=str(tmp_path))
    assert run(task).endswith("/words")
    assert (tmp_path / "copy").read_text() == "THREE SMALL WORDS"
    assert host.run("cat", task.job.log.path) == "halfway\n"


class OwnInputs(Work):
    path = luigi.Parameter()

    def inputs(self):
        return [Path(self.path)]

    def work(self):
        return self.inputs()[0].open().read()


def test_inputs_that_are_overridden_are_those_of_work(make, tmp_path):
    (tmp_path / "words").write_text("three small words")
    assert run(make(OwnInputs, path=str(tmp_path / "words"))) == "three small words"


class Raising(Work):
    def work(self):
        def divide(number):
            return number / 0  # as the file says

        print("begun")
        try:
            divide(1)
        except ZeroDivisionError as error:
            raise ValueError("no \x1b[31m such\nnumber") from error


def test_an_exception_of_work_comes_back_with_its_traceback(host, make):
    task = make(Raising)
    error = failure(task)
    line = 1 + next(number for number, text in enumerate(open(__file__)) if "# as the file says" in text)  # noqa: SIM115
    log = host.run("cat", task.job.log.path)
    assert error.outcome.reason == "work() raised ValueError: no [31m such number"
    assert "failed with exit code 1: work() raised ValueError" in error.problem
    assert log.startswith('begun\nTraceback (most recent call last):\n  File "test_python_task.py", line ')
    assert f'"test_python_task.py", line {line}, in divide\n    return number / 0  # as the file says\n' in log
    assert "run_work" not in log
    assert "ValueError: no" in error.problem.rpartition("log:")[2]


class Plain(Work):
    result_format = "pickle"

    def work(self):
        import collections
        import datetime
        import decimal

        utc = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
        plain = [(1, 2.5, b"x"), {3, 4}, frozenset([5]), 1j, range(3), bytearray(b"y"), None, True, utc]
        return [*plain, decimal.Decimal("1.5"), collections.OrderedDict(a=datetime.timedelta(1))]


def test_plain_data_comes_back_as_it_is(make):
    value = run(make(Plain))
    assert value[0] == (1, 2.5, b"x")
    assert [type(item).__name__ for item in value] == [
        *("tuple", "set", "frozenset", "complex", "range", "bytearray", "NoneType", "bool"),
        *("datetime", "Decimal", "OrderedDict"),
    ]


class NotPlain(Work):
    result_format = luigi.Parameter()

    def work(self):
        class Own:
            def __repr__(self):
                return "the only copy"

        return {"own": Own()}


@pytest.mark.parametrize("result_format", ["json", "pickle"])
def test_a_value_that_cannot_be_kept_fails_the_job_and_is_in_its_log(host, make, result_format):
    task = make(NotPlain, result_format=result_format)
    error = failure(task)
    assert error.outcome.reason.startswith("the value that work() returned cannot be written: TypeError: ")
    assert "luigi_sshjob: the value was: {'own': the only copy}" in host.run("cat", task.job.log.path)
    assert not task.complete()


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("data", [pickle.dumps(Bomb()), pickle.dumps([print]), b"", b"\x80\x04K\x01a.", b"abc"])
def test_a_pickle_of_a_hostile_host_is_not_executed(host, make, data):
    task = make(Plain)
    target = task.result_target
    target.fs.mkdir(target.path.rpartition("/")[0])
    with target.fs.writer(target.path) as file:
        file.write(data)
    with pytest.raises(RemoteCommandFailed, match=r"the result of work\(\) cannot be read"):
        task.result()


class Imports(Work):
    def work(self):
        import dataclasses
        import multiprocessing
        import sys

        import squares

        @dataclasses.dataclass
        class Sum:
            numbers: list[int | None]

        # also where it is not the default, each process imports the command again
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            total = Sum(pool.map(squares.square, self.numbers))
        return dataclasses.asdict(total), [path for path in sys.path if "/jobs/" in path and "/project" not in path]


def test_work_imports_modules_of_the_project_and_nothing_from_the_job_directory(make, tmp_path, monkeypatch):
    (tmp_path / "squares.py").write_text("def square(number):\n    return number**2\n")
    monkeypatch.setattr(Imports, "project", str(tmp_path))
    assert run(make(Imports, numbers=[3, 4])) == [{"numbers": [9, 16]}, []]


def test_a_python_that_is_too_old_is_named(host, folder, make):
    text = """#!/usr/bin/env python3
import runpy, sys
sys.version_info, sys.version, sys.argv = (3, 7), "3.7.9 (main)", sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    host.run("sh", "-c", f"cat >{folder}/python; chmod 755 {folder}/python", input=text)
    task = make(Attributes)
    task.python = f"{folder}/python"
    assert failure(task).outcome.reason == "work() needs Python 3.8 or newer, but this is 3.7.9"


def test_syntax_that_the_python_of_the_host_does_not_know_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SSHJOB_REASON", str(tmp_path / "reason"))
    with pytest.raises(SystemExit):
        run_work.define("tasks.py", 7, "def work(self):\n    return 1 +\n")
    assert (tmp_path / "reason").read_text().startswith("work() is not valid in Python 3.")
    assert 'File "tasks.py", line 8\n    return 1 +\n' in capsys.readouterr().err


def test_a_host_without_the_interpreter_is_an_error_that_names_it(make):
    task = make(Attributes)
    task.python = "python3.999"
    error = failure(task)
    assert error.outcome.exit_code == 127
    assert "python3.999" in error.problem


def test_the_source_is_that_of_the_class_also_if_the_file_has_changed_since(tmp_path):
    file = tmp_path / "changing.py"
    text = (
        "from luigi_sshjob import RemotePythonTask\nclass T(RemotePythonTask):\n    def work(self):\n        return 1\n"
    )
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("changing", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    file.write_text(f"# {text.replace('return 1', 'return 2')}")
    task = module.T()
    task.host = "a"
    assert "return 1" in task.command()


def decorated(method):
    return method


def enclosing(value):
    class Enclosed(Work):
        def work(self):
            return value

    return Enclosed


class Refused:
    """Their bodies are those of `work`."""

    class Global(Work):
        def work(self):
            return OUTSIDE + datetime.date(2026, 1, 1).year + len([decimal for _ in "x"])

    class Super(Work):
        def work(self):
            return super().work()

    class Decorated(Work):
        @decorated
        def work(self):
            return 1

    class Arguments(Work):
        def work(self, more=1):
            return more

    class Generator(Work):
        def work(self):
            yield 1

    class Coroutine(Work):
        async def work(self):
            return 1

    class Method(Work):
        def work(self):
            return self.helper()

        def helper(self):
            return 1

    class Unknown(Work):
        def work(self):
            return self.nothing

    class Secret(Work):
        def work(self):
            return self.secret

    class Environment(Work):
        def work(self):
            return self.environment

    class Target(Work):
        def work(self):
            return self.result_target

    class OtherInput(OwnInputs):
        path = "words"

        def work(self):
            return self.input()

    Enclosed = enclosing(1)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (Refused.Global, "uses names from outside of its body: OUTSIDE, datetime, decimal"),
        (Refused.Super, "uses names from outside of its body: __class__, super"),
        (Refused.Enclosed, "uses names from outside of its body: value"),
        (Refused.Decorated, "has a decorator"),
        (Refused.Arguments, "takes other arguments than self"),
        (Refused.Generator, "is a generator"),
        (Refused.Coroutine, "is no ordinary function"),
        (Refused.Method, "uses an attribute that cannot be sent: helper is of type method"),
        (Refused.Unknown, "uses an attribute that the task does not have: nothing"),
        (Refused.Secret, "uses an attribute that must not be shown: secret"),
        (Refused.Environment, "uses an attribute that must not be shown: environment"),
        (Refused.Target, "uses an attribute that cannot be sent: result_target is of type RemoteTarget"),
        (Refused.OtherInput, "uses an attribute that cannot be sent: input is of type method"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_cannot_be_sent_is_refused_before_the_submission(host, make, folder, kind, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        make(kind).run()
    assert str(caught.value).startswith(f"host {host.alias}, job {kind.__name__}")
    assert host.run("ls", "-A", folder) == ""


@pytest.mark.parametrize(
    ("attribute", "value", "problem"),
    [
        ("python", "python3 -X dev", "python must be the name of an interpreter"),
        ("python", "~/venv/bin/python", "python must be the name of an interpreter"),
        ("result_format", "yaml", "result_format must be one of json, pickle: 'yaml'"),
    ],
)
def test_invalid_attributes_are_refused(make, attribute, value, problem):
    task = make(Attributes)
    setattr(task, attribute, value)
    with pytest.raises(ConfigurationError, match=problem):
        task.run()


def test_a_class_without_work_or_without_a_file_is_refused(make):
    with pytest.raises(CommandMissing, match="must override work"):
        make(Work).run()
    namespace: dict[str, Any] = {"Work": Work}
    exec("class Typed(Work):\n    def work(self):\n        return 1\n", namespace)
    with pytest.raises(ConfigurationError, match="its source cannot be read"):
        make(namespace["Typed"]).run()
