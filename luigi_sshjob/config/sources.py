"""Reads the sections of Luigi's configuration, from either of its parsers, and its command line."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

import luigi.configuration
from luigi.cmdline_parser import CmdlineParser

from luigi_sshjob.config.schema import find_setting

Section = dict[str, object]

SECTION = "sshjob"


def read_sections() -> dict[str, Section]:
    """Return the sections whose names begin with `sshjob`, with their keys as written.

    Raises `configparser.InterpolationError` for a value that refers to an undefined variable or option.
    """
    parser: Any = luigi.configuration.get_config()
    if not isinstance(parser, luigi.configuration.LuigiConfigParser):
        return _read_toml(parser.data)
    return {name: _read_ini(parser, name) for name in parser.sections() if name.startswith(SECTION)}


def resources() -> set[str]:
    """Return the names in `[resources]`."""
    parser: Any = luigi.configuration.get_config()
    if not isinstance(parser, luigi.configuration.LuigiConfigParser):
        return set(parser.data.get("resources", ()))
    return set(_without_defaults(parser, "resources")) if parser.has_section("resources") else set()


def command_line() -> object:
    """Return an object that is the same until the command line changes."""
    return CmdlineParser.get_instance()


def command_line_value(name: str) -> object:
    """Return the value of `--sshjob-<name>`, or None if it was not given."""
    parser = CmdlineParser.get_instance()
    return getattr(parser.known_args, f"{SECTION}_{name}", None) if parser else None


def _read_ini(parser: luigi.configuration.LuigiConfigParser, name: str) -> Section:
    raw: dict[str, Any] = dict(_without_defaults(parser, name))
    if name == SECTION:
        # Luigi applies [DEFAULT] to every section; in a host's section it would override [sshjob]
        raw = {**{key: value for key, value in parser.defaults().items() if find_setting(key)}, **raw}

    def expanded(key: str, value: str) -> str:
        setting = find_setting(key)
        if (setting and setting.lines) or not ("$" in value or "%" in value):
            return value
        # not Luigi's get(), which replaces dashes by underscores and warns
        return configparser.ConfigParser.get(parser, name, key)

    return {key: expanded(key, value) for key, value in raw.items()}


def _without_defaults(parser: luigi.configuration.LuigiConfigParser, name: str) -> Mapping[str, Any]:
    # the public methods merge [DEFAULT] into each section
    section: Mapping[str, Any] = getattr(parser, "_sections")[name]  # noqa: B009
    return section


def _read_toml(tables: Mapping[str, Any]) -> dict[str, Section]:
    # in TOML `[sshjob.HOST]` is a table in a table; a dot in HOST adds one more level
    sections: dict[str, Section] = {}

    def add(name: str, table: Mapping[str, Any]) -> None:
        section = sections.setdefault(name, {})
        for key, value in table.items():
            if isinstance(value, Mapping):
                add(f"{name}.{key}", value)
            else:
                section[key] = value

    for name, table in tables.items():
        if name.startswith(SECTION):
            add(name, table)
    return sections
