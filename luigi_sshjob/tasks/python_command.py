"""The command of a `RemotePythonTask`: a script that calls work() with the attributes that it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from luigi.parameter import ParameterVisibility
from luigi.task import flatten

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.tasks.literals import NotPlain, literal, text_literal
from luigi_sshjob.tasks.naming import named, structure
from luigi_sshjob.tasks.outputs import split_outputs
from luigi_sshjob.tasks.shipping import Shipped
from luigi_sshjob.tasks.task import RemoteJobTask

# the words of a #! line are separated by blanks; an absolute path may have any other character
_INTERPRETER = re.compile(r"[\w.+][\w.+@-]*|/\S+")
# their values are secrets, or may have some
_NOT_SENT = ("environment", "ssh_options", "password", "param_args", "param_kwargs", "__dict__")
_OF_INPUT = "use self.inputs(), which the task overrides"
_OF_OTHERS = "define functions inside work(); use numbers, texts, dates and collections of them, such as an enum's name"
_TEMPLATE = """#!{interpreter}
# not in processes of multiprocessing
if __name__ == "__main__":
    import os

    runner = os.environ["SSHJOB_LIB"] + "/run_work.py"
    with open(runner, encoding="utf-8") as file:
        exec(compile(file.read(), runner, "exec"))
    task = Task(
        attributes={attributes},
        inputs={inputs},
        outputs={outputs},
    )
    work = define({name}, postponed={postponed}, source={source})
    main(task, work, result={result}, result_format={result_format})
"""


def python_command(task: Any, work: Shipped, *, inputs: Any, outputs: Any, own_paths: set[str]) -> str:
    """The script. On the host `self` has methods for `inputs` and `outputs`; see `split_outputs` for `own_paths`.

    Raises `ConfigurationError` for what work() uses but cannot be sent.
    """
    inputs, outputs = structure(inputs, _same), structure(outputs, _same)
    of_inputs = _variables(inputs, "SSHJOB_INPUT")
    of_outputs = _variables(split_outputs(outputs, own_paths)[0], "SSHJOB_OUTPUT")
    kept = task.result_target.path
    results = [of_outputs.get(id(target), "") for target in flatten(outputs) if getattr(target, "path", "") == kept]
    attributes = [
        f"\n            {name!r}: {text},"
        for name in sorted(work.uses - _methods(task))
        if (text := _attribute(task, name, name in work.sets))
    ]
    return _TEMPLATE.format(
        interpreter=_interpreter(task.python),
        attributes="".join(["{", *attributes, *(["\n        "] if attributes else []), "}"]),
        inputs=_paths(inputs, of_inputs),
        outputs=_paths(outputs, of_outputs),
        name=literal(f"work() of {type(task).__name__}"),
        postponed=work.postponed,
        source=text_literal(work.source),
        result=literal(results[0] if results else ""),
        result_format=literal(task.result_format),
    )


def _same(target: Any) -> Any:
    return target


def _variables(declared: Any, variable: str) -> dict[int, str]:
    """The variable of each target, by its identity. Raises `ConfigurationError` if two share one."""
    pairs = list(named(declared, variable))
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ConfigurationError(
                f"two inputs or outputs would share a variable: {name}",
                next_step="use keys that differ in letters or digits of ASCII",
            )
        seen.add(name)
    return {id(target): name for name, target in pairs}


def _paths(declared: Any, variables: Mapping[int, str]) -> str:
    try:
        return literal(structure(declared, lambda target: variables.get(id(target))))
    except NotPlain as kind:
        raise ConfigurationError(
            f"the keys of inputs and outputs of work() must be plain: one is {kind}",
            next_step="use texts as keys",
        ) from None


def _methods(task: Any) -> set[str]:
    """Those of `self` on the host."""
    # it may also be a parameter
    inputs = {"inputs"} if callable(task.inputs) else set()
    overridden = inputs and type(task).inputs is not RemoteJobTask.inputs
    return {"output"} | inputs | (set() if overridden else {"input"})


def _attribute(task: Any, name: str, is_set: bool) -> str:
    """The literal of its value; empty if there is none before work() sets it."""
    parameter = dict(task.get_params()).get(name)
    hidden = parameter and parameter.visibility != ParameterVisibility.PUBLIC
    if hidden or name in _NOT_SENT:
        raise ConfigurationError(
            f"work() uses an attribute that must not be shown: {name}",
            next_step="pass the value in `environment`, and let work() read it from os.environ",
        )
    # not with the task itself, which would compute a property
    if not hasattr(type(task), name) and name not in vars(task):
        if is_set:
            return ""
        raise ConfigurationError(
            f"work() uses an attribute that the task does not have: {name}",
            next_step="use parameters and other attributes of the task, self.inputs() and self.output()",
        )
    try:
        return literal(getattr(task, name))
    except NotPlain as kind:
        raise ConfigurationError(
            f"work() uses an attribute that cannot be sent: {name} is {kind}",
            next_step=_OF_INPUT if name == "input" else _OF_OTHERS,
        ) from None


def _interpreter(python: Any) -> str:
    if not isinstance(python, str) or not _INTERPRETER.fullmatch(python):
        raise ConfigurationError(
            f"python must be the name of an interpreter, or its absolute path without blanks: {python!r}",
            next_step="use 'python3', and make another one known in `setup`",
        )
    return python if "/" in python else f"/usr/bin/env {python}"
