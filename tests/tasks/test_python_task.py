"""Python functions as jobs on a real host: the value, the traceback, and what the host may send."""

from __future__ import annotations

import pickle
from typing import Any

import luigi
import pytest

import luigi_sshjob.tasks.options
from luigi_sshjob.errors import FileMissing, JobFailed, RemoteCommandFailed
from luigi_sshjob.remote import run_work

from support.python_tasks import OwnInputs, Work, imported, maker
from support.sample_tasks import Local

pytestmark = pytest.mark.needs("python")


@pytest.fixture
def make(host, folder):
    return maker(host, folder)


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
    log = host.run("cat", task.job.log.path)
    assert error.outcome.reason == "work() raised ValueError: no [31m such number"
    assert "failed with exit code 1: work() raised ValueError" in error.problem
    assert log.startswith('begun\nTraceback (most recent call last):\n  File "work() of Raising", line 7, in work\n')
    assert 'File "work() of Raising", line 3, in divide\n    return number / 0  # as the file says\n' in log
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


class Natural(Work):
    """What a body may have."""

    def work(self, /) -> Work:
        from dataclasses import dataclass, field

        global COUNT
        COUNT = 2

        @dataclass
        class Point:
            x: int = 0
            seen: list = field(default_factory=list)

            def double(self) -> int:
                self.seen.append(self.x)
                return self.x * 2

        class Child(Point):
            def double(self) -> int:
                return super().double() + 1

        def total(numbers, *, self=0) -> int:
            return sum(numbers) + self

        if (number := total(n for n in self.numbers)) == 3:
            point = Child(x=number)
        return [point.double(), vars(point), sorted(vars(point), key=lambda name: -len(name)), COUNT]


def test_a_body_may_have_its_own_functions_and_classes(make):
    assert run(make(Natural)) == [7, {"x": 3, "seen": [3]}, ["seen", "x"], 2]


EVALUATED = """
from support.python_tasks import Work

class Counted(Work):
    def work(self) -> Work:
        import dataclasses
        import typing

        @dataclasses.dataclass
        class Point:
            limit: typing.ClassVar[int] = 5
            x: int = 0

        return [field.name for field in dataclasses.fields(Point)]
"""


def test_annotations_mean_what_they_mean_in_the_file(make, tmp_path):
    assert run(make(imported(tmp_path / "evaluated.py", EVALUATED).Counted)) == ["x"]


class Leaving(Work):
    def work(self):
        import sys

        sys.exit("no licence")


def test_the_text_of_an_exit_is_the_reason(make):
    outcome = failure(make(Leaving)).outcome
    assert (outcome.exit_code, outcome.reason) == (1, "no licence")


class Listed(Work):
    def output(self):
        log = luigi_sshjob.tasks.options.job_paths(self).published_log
        return [self.remote_target(log), self.result_target, self.remote_target(f"{self.base_dir}/more")]

    def work(self):
        with self.output()[2].open("w") as more:
            more.write("more")
        return self.output()[0]


def test_the_log_among_the_outputs_does_not_shift_the_others(host, make):
    task = make(Listed)
    assert run(task) is None
    assert host.run("cat", task.output()[2].path) == "more"


class Large(Work):
    def work(self):
        print("begun")
        return "x" * 5_000_000


@pytest.mark.needs_docker
def test_a_full_disk_is_the_reason_and_leaves_room_for_the_log(special_bench):
    bench = special_bench(tmpfs={"/small": "size=4m,mode=777"})
    task = Large(host=bench.host.alias, base_dir="/small/base")
    outcome = failure(task).outcome
    assert (outcome.exit_code, outcome.reason) == (
        1,
        "the value that work() returned cannot be written: OSError: [Errno 28] No space left on device",
    )
    assert bench.host.run("cat", task.job.log.path).startswith("begun\nluigi_sshjob: the value was: 'xxxx")


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


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps(Bomb()), pickle.dumps([print]), b"", b"\x80\x04K\x01a.", b"abc"),
        b"cdatetime\ntimedelta\n(I9999999999999999\ntR.",
    ],
    ids=["code", "a function", "nothing", "damaged", "text", "too large"],
)
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
        run_work.define("work() of Old", "def work(self):\n    return 1 +\n", False)
    assert (tmp_path / "reason").read_text().startswith("work() is not valid in Python 3.")
    assert "line 2\n    return 1 +\n" in capsys.readouterr().err


def test_a_host_without_the_interpreter_is_an_error_that_names_it(make):
    task = make(Attributes)
    task.python = "python3.999"
    error = failure(task)
    assert error.outcome.exit_code == 127
    assert "python3.999" in error.problem
