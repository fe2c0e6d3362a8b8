"""The command of a `RemotePythonTask`: a script that calls work() with the attributes that it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luigi.parameter import ParameterVisibility

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.tasks.literals import literal, text_literal
from luigi_sshjob.tasks.naming import named, structure
from luigi_sshjob.tasks.shipping import Shipped

_INTERPRETER = re.compile(r"[\w./+-]+")
# their values are secrets, or may have some
_NOT_SENT = ("environment", "ssh_options", "password")
_TEMPLATE = """#!{interpreter}
# not in processes of multiprocessing
if __name__ == "__main__":
    import os

    runner = os.environ["SSHJOB_LIB"] + "/run_work.py"
    with open(runner) as file:
        exec(compile(file.read(), runner, "exec"))
    work = define(file={file}, line={line}, source={source})
    task = Task(
        attributes={attributes},
        inputs={inputs},
        outputs={outputs},
    )
    main(task, work, result={result}, result_format={result_format})
"""


def python_command(task: Any, work: Shipped, inputs: Any, provided: set[str]) -> str:
    """Raises `ConfigurationError` for an attribute of the task that work() uses but that cannot be sent.

    `provided` are the methods of `self` that it has on the host.
    """
    outputs = task.output()
    paths = {target.path: name for name, target in named(outputs, "SSHJOB_OUTPUT") if hasattr(target, "path")}
    attributes = [
        f"\n            {name!r}: {text},"
        for name in sorted(work.uses - provided)
        for text in _attribute(task, name, name in work.sets)
    ]
    return _TEMPLATE.format(
        interpreter=_interpreter(task.python),
        attributes="".join(["{", *attributes, *(["\n        "] if attributes else []), "}"]),
        inputs=literal(structure(inputs, "SSHJOB_INPUT")),
        outputs=literal(structure(outputs, "SSHJOB_OUTPUT")),
        result=literal(paths.get(task.result_target.path, "")),
        result_format=literal(task.result_format),
        file=literal(work.file),
        line=work.line,
        source=text_literal(work.source),
    )


def _attribute(task: Any, name: str, is_set: bool) -> Iterator[str]:
    """The literal of its value, if there is one before work() sets it."""
    parameter = dict(task.get_params()).get(name)
    if name in _NOT_SENT or (parameter and parameter.visibility != ParameterVisibility.PUBLIC):
        raise ConfigurationError(
            f"work() uses an attribute that must not be shown: {name}",
            next_step="pass the value in `environment`, and let work() read it from os.environ",
        )
    try:
        value = getattr(task, name)
        yield literal(value)
    except AttributeError:
        if not is_set:
            raise ConfigurationError(
                f"work() uses an attribute that the task does not have: {name}",
                next_step="use parameters and other attributes of the task, self.inputs() and self.output()",
            ) from None
    except TypeError as kind:
        raise ConfigurationError(
            f"work() uses an attribute that cannot be sent: {name} is of type {kind}",
            next_step="use numbers, texts, dates, and collections of them; define functions inside work()",
        ) from None


def _interpreter(python: Any) -> str:
    if not isinstance(python, str) or not _INTERPRETER.fullmatch(python):
        raise ConfigurationError(
            f"python must be the name of an interpreter, or its absolute path: {python!r}",
            next_step="use 'python3', and make another one known in `setup`",
        )
    return python if "/" in python else f"/usr/bin/env {python}"
