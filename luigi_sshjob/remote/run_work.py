"""Runs work() of a `RemotePythonTask`. It is installed on the host, where the command of such a job executes it.

For Python 3.8 or newer; but it has to be valid in older ones, too, so that these report what they are.
"""

import __future__

import collections
import datetime
import decimal
import io
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


def define(file: str, line: int, source: str) -> object:
    """Returns the function work() of the `source`, which begins at a line of a file of the client."""
    # for tracebacks
    linecache.cache[file] = (len(source), None, [""] * (line - 1) + source.splitlines(True), file)
    # dataclasses look for the module by this name
    namespace = {"__name__": "__main__"}
    # they are not evaluated, because they may use names of the file, or what only a newer Python has
    annotations = __future__.annotations.compiler_flag
    try:
        code = compile("\n" * (line - 1) + source, file, "exec", annotations, dont_inherit=True)
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
    except Exception as error:  # noqa: BLE001 - all of the user's code
        _fail(f"work() raised {_text(error)}", _traceback(error))
    if not result:
        if value is not None:
            print("luigi_sshjob: work() returned a value, but output() has no result_target for it", file=sys.stderr)
        return
    try:
        _write(value, os.environ[result], result_format)
    except Exception as error:  # noqa: BLE001 - those of the user's classes, too
        # it may have taken days to compute
        log = f"luigi_sshjob: the value was: {repr(value)[:_LONGEST]}\n"
        _fail(f"the value that work() returned cannot be written: {_text(error)}", log)


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
    data = io.BytesIO()
    if result_format == "json":
        data.write(json.dumps(value).encode() + b"\n")
    else:
        _PlainPickler(data, 4).dump(value)
    with open(path, "wb") as file:
        file.write(data.getvalue())


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
    """Ends the job."""
    sys.stdout.flush()
    sys.stderr.write(log)
    reason = " ".join(reason.split())
    try:
        with open(os.environ["SSHJOB_REASON"], "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{reason}\n")
    except OSError:
        sys.stderr.write(f"luigi_sshjob: {reason}\n")
    sys.exit(1)


if sys.version_info < (3, 8):  # noqa: UP036 - not of the client
    _fail(f"work() needs Python 3.8 or newer, but this is {_version()}")
