"""What cannot be sent to a host as the code of a job is refused before anything is submitted."""

from __future__ import annotations

import datetime
import decimal
import enum
from typing import Any

import luigi
import pytest

from luigi_sshjob.errors import CommandMissing, ConfigurationError

from support.python_tasks import OwnInputs, Work, imported, maker
from support.sample_tasks import Local

OUTSIDE = 3
CLASS = """
import luigi_sshjob

class T(luigi_sshjob.RemotePythonTask):
    host = "a"

    def work(self):
        {}
"""


class Color(enum.Enum):
    RED = 1


@pytest.fixture
def make(host, folder):
    return maker(host, folder)


def test_the_source_is_that_of_the_class_also_if_the_file_has_changed_since(tmp_path):
    text = CLASS.format("return 1")
    module = imported(tmp_path / "changing.py", text)
    (tmp_path / "changing.py").write_text(f"# {text.replace('return 1', 'return 2')}")
    assert "return 1" in module.T().command()


def test_lines_elsewhere_in_the_file_do_not_change_the_command(tmp_path):
    text = CLASS.format("return 1")
    first = imported(tmp_path / "first.py", text).T().command()
    assert imported(tmp_path / "second.py", f"# more\n{text}").T().command() == first


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

    class ItsOwn(Work):
        def work(self):
            return [getattr(self, name) for name in ["factor"]]

    class Nested(Work):
        def work(self):
            class Other:
                def __init__(self):
                    self.total = 1

            return Other().total + self.total

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

    class All(Work):
        def work(self):
            return self.param_kwargs

    class Enum(Work):
        kind = luigi.EnumParameter(enum=Color, default=Color.RED)

        def work(self):
            return self.kind

    class Endless(Work):
        many = [1]
        many.append(many)

        def work(self):
            return self.many

    class Colliding(Work):
        def inputs(self):
            return {"a-b": "/etc/hosts", "a_b": "/etc/hostname"}

        def work(self):
            return self.inputs()["a-b"]

    class Keys(Work):
        def requires(self):
            return {Color.RED: Local("/etc/hosts")}

        def work(self):
            return self.input()

    class Successful(Work):
        success_exit_codes = (0, 1)

        def work(self):
            return 1

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
        (Refused.Super, r"uses names from outside of its body: super\(\)"),
        (Refused.ItsOwn, "uses self itself"),
        (Refused.Nested, "uses an attribute that the task does not have: total"),
        (Refused.All, "uses an attribute that must not be shown: param_kwargs"),
        (Refused.Enum, "uses an attribute that cannot be sent: kind is of type Color"),
        (Refused.Endless, "uses an attribute that cannot be sent: many is nested too deeply"),
        (Refused.Colliding, "two inputs or outputs would share a variable: SSHJOB_INPUT_A_B"),
        (Refused.Keys, "the keys of inputs and outputs of .* must be plain: one is of type Color"),
        (Refused.Successful, "must not be a success: success_exit_codes has 1"),
        (Refused.Enclosed, "uses names from outside of its body: value"),
        (Refused.Decorated, "has a decorator"),
        (Refused.Arguments, "takes other arguments than self"),
        (Refused.Generator, "is no ordinary method, but a generator"),
        (Refused.Coroutine, "is no ordinary method, but a generator, a coroutine"),
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


class Unchecked(Work):
    def work(self):
        return 1


@pytest.mark.parametrize(
    ("attribute", "value", "problem"),
    [
        ("python", "python3 -X dev", "python must be the name of an interpreter"),
        ("python", "~/venv/bin/python", "python must be the name of an interpreter"),
        ("python", "venv/bin/python", "python must be the name of an interpreter"),
        ("python", "--version", "python must be the name of an interpreter"),
        ("result_format", "yaml", "result_format must be one of json, pickle: 'yaml'"),
    ],
)
def test_invalid_attributes_are_refused(make, attribute, value, problem):
    task = make(Unchecked)
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
