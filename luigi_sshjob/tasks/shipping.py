"""The source of a method that runs on its own on a host; what it would miss there is refused here."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import inspect
import os
import symtable
from collections.abc import Callable, Iterator
from typing import Any

from luigi_sshjob.errors import ConfigurationError

# super() of the method itself would need its class
_BUILTINS = frozenset(dir(builtins)) - {"super"}


@dataclasses.dataclass(frozen=True)
class Shipped:
    """Code that defines a function `work`, and the attributes of its first argument that this uses and sets."""

    file: str
    line: int
    source: str
    uses: frozenset[str]
    sets: frozenset[str]


@functools.cache
def shipped(method: Callable[..., Any]) -> Shipped:
    """Reads the source. As that may change later, it should be called when the class is defined.

    Raises `ConfigurationError` if the method needs anything from outside of its body: a global name, a variable of an
    enclosing function, a decorator, other arguments.
    """
    try:
        lines, line = inspect.getsourcelines(method)
        source = "".join(lines)
        if source[0].isspace():
            # not dedented, because texts of several lines would change
            source, line = f"if True:\n{source}", line - 1
        file = os.path.basename(inspect.getsourcefile(method) or "")
        (statement,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        raise _refused("its source cannot be read", "define the class in a file, or in a notebook") from None
    function = statement.body[0] if isinstance(statement, ast.If) else statement
    if not isinstance(function, ast.FunctionDef) or function.name != "work" or function.decorator_list:
        raise _refused("it has a decorator, or is no ordinary function", "write `def work(self):`")
    if not _takes_one(function.args):
        raise _refused("it takes other arguments than self", "read parameters of the task, as self.name")
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own_nodes(function)):
        raise _refused("it is a generator", "return the value")
    unknown = sorted(set(_global_names(_table(source))))
    if unknown:
        raise _refused(
            f"it uses names from outside of its body: {', '.join(unknown)}",
            "import modules and define functions and constants inside work()",
        )
    return Shipped(file, line, source, *_attributes(function))


def _takes_one(arguments: ast.arguments) -> bool:
    others = (*arguments.posonlyargs, *arguments.kwonlyargs, *arguments.defaults, arguments.vararg, arguments.kwarg)
    return len(arguments.args) == 1 and not any(others)


def _own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Those of the function, without those of functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own_nodes(node)


class _WithoutAnnotations(ast.NodeTransformer):
    """The host does not evaluate them."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Assign([self.visit(node.target)], self.visit(node.value or ast.Constant(None)), lineno=node.lineno)


def _table(source: str) -> symtable.SymbolTable:
    tree = _WithoutAnnotations().visit(ast.parse(source))
    (table,) = symtable.symtable(ast.unparse(tree), "work", "exec").get_children()
    return table


def _global_names(table: symtable.SymbolTable, known: frozenset[str] = _BUILTINS) -> Iterator[str]:
    """Names that its module would have to define. Variables of functions around the method are among them."""
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced() and symbol.get_name() not in known:
            yield symbol.get_name()
    if table.get_type() == "class":
        known |= {"super"}
    for child in table.get_children():
        yield from _global_names(child, known)


def _attributes(function: ast.FunctionDef) -> tuple[frozenset[str], frozenset[str]]:
    """Those of its first argument that it uses, and which of them it sets."""
    name = function.args.args[0].arg
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    ]
    sets = (node.attr for node in found if not isinstance(node.ctx, ast.Load))
    return frozenset(node.attr for node in found), frozenset(sets)


def _refused(problem: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(f"work() cannot be sent to a host: {problem}", next_step=next_step)
