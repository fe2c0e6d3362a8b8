"""Luigi's configuration for the duration of a test."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi.configuration
from luigi.task_register import Register

from luigi_sshjob.config.sources import SECTION
from luigi_sshjob.tasks import completion


@contextlib.contextmanager
def configured(settings: Mapping[str, str], folder: Path) -> Iterator[None]:
    """`settings` apply to all hosts while the block runs; others stay as they are. Any change is undone at the end.

    Programs that are started meanwhile read a file in `folder`.
    """
    original: Any = luigi.configuration.get_config()
    parser = copy.deepcopy(original)
    if isinstance(parser, luigi.configuration.LuigiConfigParser):
        file = folder / "luigi.cfg"
        _change_ini(parser, settings)
        with file.open("w") as written:
            parser.write(written)
    else:
        file = folder / "luigi.toml"
        parser.data = _changed(parser.data, settings)
        file.write_text(importlib.import_module("toml").dumps(parser.data))
    # Luigi has one parser, and no other way to replace it
    kind = type(original)
    kind._instance = parser  # noqa: SLF001
    try:
        with fresh_tasks(), environment({"LUIGI_CONFIG_PATH": str(file)}):
            yield
    finally:
        kind._instance = original  # noqa: SLF001


@contextlib.contextmanager
def fresh_tasks() -> Iterator[None]:
    """Tasks of the block are other objects than equal ones before and after: Luigi would return the same again."""
    Register.clear_instance_cache()
    completion.forget()
    try:
        yield
    finally:
        Register.clear_instance_cache()
        completion.forget()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of this process while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _change_ini(parser: luigi.configuration.LuigiConfigParser, settings: Mapping[str, str]) -> None:
    if not parser.has_section(SECTION):
        parser.add_section(SECTION)
    for section in parser.sections():
        if section.startswith(SECTION):
            # the public methods merge [DEFAULT] into each section
            present = getattr(parser, "_sections")[section]  # noqa: B009
            for name, value in _spelled(settings, present, add=section == SECTION).items():
                parser.set(section, name, value)


def _changed(tables: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    changed = {name: _plain(table) for name, table in tables.items()}
    changed.setdefault(SECTION, {})
    for name, table in changed.items():
        if name.startswith(SECTION):
            _change_table(table, settings, add=name == SECTION)
    return changed


def _change_table(table: dict[str, Any], settings: Mapping[str, str], *, add: bool) -> None:
    for value in table.values():
        # the section of a host is a table in this one
        if isinstance(value, dict):
            _change_table(value, settings, add=False)
    table.update(_spelled(settings, table, add=add))


def _spelled(settings: Mapping[str, str], present: Mapping[str, Any], *, add: bool) -> dict[str, str]:
    """`settings` with dashes where a section has them; without `add`, those that it has.

    In the section of a host they are replaced and not removed, because a file that Luigi reads before may have them.
    """
    found: dict[str, str] = {}
    for name, value in settings.items():
        dashed = name.replace("_", "-")
        if add or name in present or dashed in present:
            found[dashed if dashed in present else name] = value
    return found


def _plain(value: Any) -> Any:
    """Tables that can be changed."""
    return {name: _plain(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value
