"""The source of a method that runs on its own on a host; what it would miss there is refused here."""

from __future__ import annotations
import __future__

import ast
import builtins
import dataclasses
import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.remote.run_work import parse

_POSTPONED = __future__.annotations.compiler_flag
_OTHER_FUNCTIONS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_MORE_ARGUMENTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
# not those that were added, such as IPython's display
_MODULES = ("builtins", "io", "_io", "_sitebuiltins", None)
_BUILTINS = {name for name, value in vars(builtins).items() if getattr(value, "__module__", None) in _MODULES}
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


@dataclasses.dataclass(frozen=True)
class Shipped:
    """The source of a function `work`, and the attributes of its first argument that it uses and sets."""

    source: str
    postponed: bool
    """Whether the annotations in it are not evaluated, as its file demands."""
    uses: frozenset[str]
    sets: frozenset[str]


@functools.cache
def shipped(method: Callable[..., Any]) -> Shipped:
    """Reads the source. As that may change later, it should be called when the class is defined.

    Raises `ConfigurationError` if the method needs anything from outside of its body: a global name, a variable of an
    enclosing function, a decorator, other arguments.
    """
    if not isinstance(method, FunctionType) or method.__name__ != "work" or method.__code__.co_flags & _OTHER_FUNCTIONS:
        raise _refused("it is no ordinary method, but a generator, a coroutine or the like", "write `def work(self):`")
    code = method.__code__
    outside = {"super()" if name == "__class__" else name for name in {*code.co_freevars, *_global_names(code)}}
    if outside:
        raise _refused(
            f"it uses names from outside of its body: {', '.join(sorted(outside))}",
            "import modules and define functions and constants inside work()",
        )
    if code.co_argcount != 1 or code.co_kwonlyargcount or method.__defaults__ or code.co_flags & _MORE_ARGUMENTS:
        raise _refused("it takes other arguments than self", "read parameters of the task, as self.name")
    try:
        source = inspect.getsource(method)
        function = parse(source)
    except Exception:  # noqa: BLE001 - whatever a parser makes of a file that has changed
        raise _refused("its source cannot be read", "define the class in a file, or in a notebook") from None
    if function.decorator_list:
        raise _refused("it has a decorator", "write `def work(self):`")
    found = _UsesOfSelf(code.co_varnames[0])
    for statement in function.body:
        found.visit(statement)
    if found.is_passed_on:
        raise _refused("it uses self itself", "use attributes, as self.name, and pass on their values")
    return Shipped(source, bool(code.co_flags & _POSTPONED), frozenset(found.uses), frozenset(found.sets))


def _global_names(code: CodeType) -> set[str]:
    """Names that the module would have to define; pytest adds some with an @ to the code of its test files."""
    read: set[str] = set()
    # a class whose body has annotations reads that name
    known = _BUILTINS | {"__annotations__"}
    for each in _codes(code):
        instructions = list(dis.get_instructions(each))
        known |= {item.argval for item in instructions if item.opname == "STORE_GLOBAL"}
        # those that the body of a class sets are its own
        own = {item.argval for item in instructions if item.opname == "STORE_NAME"}
        read |= {item.argval for item in instructions if item.opname in _LOADS} - own
    return {name for name in read - known if name[0] != "@"}


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code itself, and that of all functions and classes in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


class _UsesOfSelf(ast.NodeVisitor):
    """What a method does with its first argument. A function in it that has one of the same name hides that."""

    def __init__(self, name: str):
        self._name = name
        self.uses: set[str] = set()
        self.sets: set[str] = set()
        self.is_passed_on = False

    def visit_Name(self, node: ast.Name) -> None:
        self.is_passed_on |= node.id == self._name

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id == self._name:
            self.uses.add(node.attr)
            self.sets |= set() if isinstance(node.ctx, ast.Load) else {node.attr}
        else:
            self.generic_visit(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        hides = any(isinstance(each, ast.arg) and each.arg == self._name for each in ast.walk(node.args))
        self.generic_visit(node.args if hides else node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815


def _refused(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(f"work() cannot be sent to a host: {problem}", next_step=next_step)
