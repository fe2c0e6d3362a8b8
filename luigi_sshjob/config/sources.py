"""What is written in Luigi's configuration, by either of its parsers, and on its command line."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

import luigi.configuration
from luigi.cmdline_parser import CmdlineParser

from luigi_sshjob.config.schema import setting_named

Section = dict[str, object]

OURS = "sshjob"


def beginning_with_ours() -> dict[str, Section]:
    """The sections whose names begin with `sshjob`, with the keys as they are written.

    Raises `configparser.InterpolationError` for a value that refers to what is not there.
    """
    parser: Any = luigi.configuration.get_config()
    if not isinstance(parser, luigi.configuration.LuigiConfigParser):
        return _of_tables(parser.data)
    return {name: _of_lines(parser, name) for name in parser.sections() if name.startswith(OURS)}


def resources() -> set[str]:
    """The names in `[resources]`."""
    parser: Any = luigi.configuration.get_config()
    if not isinstance(parser, luigi.configuration.LuigiConfigParser):
        return set(parser.data.get("resources", ()))
    return set(_own(parser, "resources")) if parser.has_section("resources") else set()


def command_line() -> object:
    """The same object as long as the command line is."""
    return CmdlineParser.get_instance()


def given(name: str) -> object:
    """What `--sshjob-<name>` was given; None where it was not."""
    parser = CmdlineParser.get_instance()
    return getattr(parser.known_args, f"{OURS}_{name}", None) if parser else None


def _of_lines(parser: luigi.configuration.LuigiConfigParser, name: str) -> Section:
    own: dict[str, Any] = dict(_own(parser, name))
    if name == OURS:
        # as Luigi has it; in a host's section it would take back what [sshjob] says
        common = parser.defaults().items()
        own = {**{key: raw for key, raw in common if setting_named(key)}, **own}
    # not Luigi's get, which takes dashes for underscores and warns
    get = configparser.ConfigParser.get
    return {key: get(parser, name, key) if "$" in raw or "%" in raw else raw for key, raw in own.items()}


def _own(parser: luigi.configuration.LuigiConfigParser, name: str) -> Mapping[str, Any]:
    # what is public puts [DEFAULT] in among them
    own: Mapping[str, Any] = getattr(parser, "_sections")[name]  # noqa: B009
    return own


def _of_tables(tables: Mapping[str, Any]) -> dict[str, Section]:
    """`[sshjob.HOST]` is a table in a table in TOML; where HOST has dots, in more of them."""
    found: dict[str, Section] = {}

    def add(name: str, table: Mapping[str, Any]) -> None:
        section = found.setdefault(name, {})
        for key, value in table.items():
            if isinstance(value, Mapping):
                add(f"{name}.{key}", value)
            else:
                section[key] = value

    for name, table in tables.items():
        if name.startswith(OURS):
            add(name, table)
    return found
