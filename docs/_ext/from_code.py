"""Pages that are written by the code they describe: `settings-of`, `attributes-of` and `commands-of`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import luigi
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles

from luigi_sshjob.config.schema import SETTINGS
from luigi_sshjob.tasks.attributes import overridable

# What a number means; a setting whose name says nothing that is known here cannot be documented.
_UNITS = (
    (r"^cpu_limit$", "cores"),
    (r"^nice$", ""),
    (r"_(interval|timeout|limit|grace|persist|delay|age)$", "seconds"),
    (r"_sessions$", "sessions"),
    (r"_jobs$", "jobs"),
    (r"_lines$", "lines a minute"),
    (r"_(attempts|count|retries)$", "times"),
)


class _FromCode(Directive):
    """`:: module:name` is what is described."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        lines = StringList(list(self.lines(getattr(importlib.import_module(module), name))), source=self.arguments[0])
        parent = nodes.section()
        parent.document = self.state.document
        nested_parse_with_titles(self.state, lines, parent)
        return parent.children

    def lines(self, found: Any) -> Iterator[str]:
        raise NotImplementedError


class SettingsOf(_FromCode):
    """A table of the parameters of a `luigi.Config`, and a target for each."""

    def lines(self, found: type[luigi.Config]) -> Iterator[str]:
        rows = [("setting", "type", "default", "unit", "what it is")]
        for name, parameter in found.get_params():
            kind, unit = _kind(name, parameter)
            # what Luigi adds for its own help says the type once more; so may the description the unit
            text = re.sub(r" *Choices: \{.*\}$| In [a-z]+\.(?=$| )", "", parameter.description or "")
            rows.append((f"``{name}``", kind, _default(parameter), unit, text))
        yield from _table(rows, "20 12 16 10 42")


class AttributesOf(_FromCode):
    """The overridable attributes of a task class, with types and defaults, in the order of the code."""

    def lines(self, found: type) -> Iterator[str]:
        # not getattr: an attribute without a value of its own may be an error
        members = [member for base in reversed(found.__mro__) for member in vars(base).items()]
        yield from (".. py:currentmodule:: luigi_sshjob", "")
        for name, value in members:
            if isinstance(value, overridable):
                kind = inspect.signature(value._default).return_annotation
                yield from (f".. py:attribute:: {found.__name__}.{name}", f"   :type: {kind}", "")
                yield from (f"   {line}" for line in _text(inspect.getdoc(value) or ""))
                yield from ("", f"   {_default_of(name, value)}", "")


def _default_of(name: str, attribute: Any) -> str:
    if name in SETTINGS:
        default = SETTINGS[name].default
        text = f"{default:g}" if isinstance(default, float) else default
        return f"Default: the setting ``{name}``" + (f", ``{text}`` unless you change it." if text else ", empty.")
    default = attribute._default(None)
    return "Required." if default is None else f"Default: ``{default!r}``."


class CommandsOf(_FromCode):
    """The subcommands of the `argparse.ArgumentParser` that a function returns, with their options."""

    def lines(self, found: Any) -> Iterator[str]:
        parser = found()
        yield from (*_text(parser.description or ""), "", *_text(parser.notes), "")
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                continue
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                yield from _command(name, sub, helps.get(name, ""))
                yield from (".. code-block:: console", "", *(f"   $ {line}" for line in sub.examples), "")


def _command(name: str, parser: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    title = f"luigi-sshjob {name}"
    yield from (title, "-" * len(title), "", f".. program:: {title}", "")
    options = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    if options:
        usage = parser.format_usage().removeprefix("usage: ").splitlines()
        yield from (".. code-block:: none", "", *(f"   {line}" for line in usage), "")
    yield from (*_text(parser.description or summary), "")
    for action in options:
        if action.help is argparse.SUPPRESS:
            continue
        names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            names += f" {action.metavar or action.dest.upper()}"
        text = (action.help or "") % {**vars(action), "prog": title} if action.help else ""
        yield from (f".. option:: {names}", "", *(f"   {line}" for line in _text(text)), "")


def _text(text: str) -> list[str]:
    """As reStructuredText, which would take a name at a host for an address of a person."""
    return re.sub(r"(?<![`\w])[\w.]+@[\w.:]*\w", r"``\g<0>``", text).splitlines()


def _kind(name: str, parameter: luigi.Parameter) -> tuple[str, str]:
    if isinstance(parameter, luigi.ChoiceParameter):
        return " or ".join(f"``{choice}``" for choice in sorted(parameter._choices)), ""
    if isinstance(parameter, luigi.BoolParameter):
        return "true or false", ""
    if isinstance(parameter, (luigi.IntParameter, luigi.FloatParameter)):
        unit = next((unit for pattern, unit in _UNITS if re.search(pattern, name)), None)
        if unit is None:
            raise ValueError(f"{name}: its name does not tell its unit; add that to docs/_ext/from_code.py")
        return "number" if isinstance(parameter, luigi.FloatParameter) else "whole number", unit
    return "text", ""


def _default(parameter: luigi.Parameter) -> str:
    value = parameter._default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"``{value}``" if value not in ("", None) else "(none)"


def _table(rows: Iterable[tuple[str, ...]], widths: str) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for first, *others in rows:
        yield f"   * - {first}"
        yield from (f"     - {cell}" for cell in others)
    yield ""


def _docstring(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """A docstring is plain text: a plural may follow its code, and each line that says what is raised is a new one."""
    text = re.sub(r"(`[^`]+`)s\b", r"\1\\s", "\n".join(lines))
    lines[:] = _text(re.sub(r"(?<=\.)\n(?=Raises )", "\n\n", text))


def _signature(app: Any, what: str, name: str, found: Any, options: Any, text: str | None, *_: Any) -> Any:
    """Errors are caught by users, not made."""
    return ("", None) if what == "exception" and text else None


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    app.add_directive("settings-of", SettingsOf)
    app.add_directive("attributes-of", AttributesOf)
    app.add_directive("commands-of", CommandsOf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
