"""Runs work() of a `RemotePythonTask`. It is installed on the host, where the command of such a job executes it.

For Python 3.8 or newer; but it has to be valid in older ones, too, so that these report what they are.
"""

import __future__

import ast
import collections
import contextlib
import datetime
import decimal
import json
import linecache
import os
import pickle
import sys
import traceback
from typing import Any

# Types of values that can be pickled, besides those that pickle itself knows, such as dict. The client reads no others.
PLAIN = (
    *(bytearray, complex, range, set, frozenset, collections.OrderedDict, decimal.Decimal),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
)
_LONGEST = 100000  # characters that the log gets of a value that could not be written


class JobPath(str):
    """A file or directory of the job, with the members of a target that work() needs."""

    @property
    def path(self) -> str:
        """The path."""
        return str(self)

    def open(self, mode: str = "r") -> object:
        """As the function `open`."""
        return open(str(self), mode)

    def exists(self) -> bool:
        """As `os.path.exists`."""
        return os.path.exists(str(self))


class Task:
    """`self` in work(). Its inputs and outputs are given as the same structures with names of variables."""

    def __init__(self, attributes: "dict[str, object]", inputs: object, outputs: object) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self.__dict__.update(attributes)

    def inputs(self) -> object:
        """Paths as the client's method describes them."""
        return _paths(self._inputs)

    input = inputs

    def output(self) -> object:
        """Temporary paths, which are renamed after a success."""
        return _paths(self._outputs)


def parse(source: str) -> ast.FunctionDef:
    """Returns the function that the source of a method defines; its first line is line 1."""
    indented = source[0].isspace()
    # not dedented, because texts of several lines would change
    (function,) = ast.parse("if True:\n" + source if indented else source).body
    if isinstance(function, ast.If):
        function = function.body[0]
    if not isinstance(function, ast.FunctionDef):
        raise SyntaxError("it defines no function")  # noqa: TRY004 - so it is for a parser
    if indented:
        ast.increment_lineno(function, -1)
    return function


def define(name: str, source: str, postponed: bool) -> object:
    """Returns the function work() of the `source`; its annotations are not evaluated if they are `postponed`."""
    # for tracebacks
    linecache.cache[name] = (len(source), None, [line + "\n" for line in source.split("\n")], name)
    # dataclasses look for the module by this name
    namespace = {"__name__": "__main__"}
    try:
        function = parse(source)
        # its own annotations may name what only the client has
        function.returns = None
        for argument in ast.walk(function.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        flags = __future__.annotations.compiler_flag if postponed else 0
        code = compile(ast.Module([function], []), name, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        _fail(f"work() is not valid in Python {_version()}: {_text(error)}", _traceback(error))
    exec(code, namespace)  # noqa: S102 - this is what the file is for
    return namespace["work"]


def main(task: Task, work: object, result: str, result_format: str) -> None:
    """Calls work(); `result` is the variable of the output for the value that it returns, or empty."""
    # the log shows each line at once, and any text
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    _import_from(os.environ.get("SSHJOB_PROJECT"))
    try:
        value = work(task)  # type: ignore[operator]
    except SystemExit as error:
        if isinstance(error.code, str):
            _fail(error.code, f"{error.code}\n")
        raise
    except Exception as error:  # noqa: BLE001 - all of the user's code
        _fail(f"work() raised {_text(error)}", _traceback(error))
    if not result:
        if value is not None:
            print("luigi_sshjob: work() returned a value, but output() has no result_target for it", file=sys.stderr)
        return
    path = os.environ[result]
    try:
        _write(value, path, result_format)
    except Exception as error:  # noqa: BLE001 - those of the user's classes, too
        if os.path.exists(path):
            # the log may need the space
            os.remove(path)
        # it may have taken days to compute
        _fail(f"the value that work() returned cannot be written: {_text(error)}", _shown(value))


def _import_from(project: "str | None") -> None:
    """Imports look at the project first, if there is one, and never at the job directory."""
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(sys.argv[0])):
        del sys.path[0]
    if project:
        sys.path.insert(0, project)


def _paths(names: object) -> object:
    if isinstance(names, dict):
        return {key: _paths(value) for key, value in names.items()}
    if isinstance(names, list):
        return [_paths(value) for value in names]
    return JobPath(os.environ[names]) if isinstance(names, str) and names in os.environ else None


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        if type(value) in PLAIN or any(value is kind for kind in PLAIN):
            return NotImplemented
        raise TypeError(f"a value of type {type(value).__qualname__} is no plain data")


def _write(value: object, path: str, result_format: str) -> None:
    with open(path, "wb") as file:
        if result_format == "json":
            file.write(json.dumps(value).encode() + b"\n")
        else:
            _PlainPickler(file, 4).dump(value)


def _shown(value: object) -> str:
    try:
        return f"luigi_sshjob: the value was: {repr(value)[:_LONGEST]}\n"
    except Exception as error:  # noqa: BLE001 - of the user's classes
        return f"luigi_sshjob: the value cannot be shown, either: {_text(error)}\n"


def _version() -> str:
    return sys.version.split()[0]


def _text(error: BaseException) -> str:
    """Its type and message, without the line of code of a syntax error, and without notes."""
    lines = traceback.format_exception_only(type(error), error)
    return next(line for line in lines if not line.startswith("  "))


def _traceback(error: BaseException) -> str:
    """The traceback without the frame of this file."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, frames))


def _fail(reason: str, log: str = "") -> None:
    """Ends the job. The disk may be full."""
    reason = " ".join(reason.split())
    with contextlib.suppress(OSError), open(os.environ["SSHJOB_REASON"], "wb") as file:
        file.write(f"{reason}\n".encode(errors="replace"))
    try:
        sys.stdout.flush()
        sys.stderr.write(log or f"luigi_sshjob: {reason}\n")
    except (OSError, ValueError):
        # without Python's own try
        os._exit(1)
    sys.exit(1)


if sys.version_info < (3, 8):  # noqa: UP036 - not of the client
    _fail(f"work() needs Python 3.8 or newer, but this is {_version()}")
