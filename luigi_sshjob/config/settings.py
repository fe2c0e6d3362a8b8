"""The entry point for reading settings."""

from __future__ import annotations

import configparser

from luigi_sshjob.config import sources
from luigi_sshjob.config.resolve import ResolvedConfig
from luigi_sshjob.config.schema import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError

_cache: tuple[object, ResolvedConfig] | None = None


def get_settings(host: str | Destination | None = None) -> Settings:
    """Return the current settings for a host, named as in a task, or the common settings without a host.

    The order of precedence is the command line, the sections that match the host from the most to the least specific
    (`[sshjob.me@box:22]`, `[sshjob.me@box]`, `[sshjob.box:22]`, `[sshjob.box]`), then `[sshjob]`. Hosts are matched by
    the names that the user gives them; ssh's configuration is not read.

    Raises `ConfigurationError` for any unknown key or invalid value, also in the section of another host, so that a
    mistake shows up at startup and not after hours of work.
    """
    destination = Destination.parse(host, {}) if isinstance(host, str) else host
    return _resolved().for_host(destination)


def misspelt_section(host: Destination) -> str | None:
    """Return the name of a section that is probably meant for `host`, and applies to no host; None if there is no such.

    Raises the errors of `get_settings`.
    """
    return _resolved().misspelt_section(host)


def _resolved() -> ResolvedConfig:
    global _cache
    try:
        written = sources.read_sections()
    except configparser.InterpolationError as error:
        raise ConfigurationError(
            f"cannot expand a reference in Luigi's configuration: {error.message}",
            next_step="set the variable, or correct the value",
        ) from error
    # only compared on each call: validation takes longer than a request to a host
    source = (written, sources.command_line())
    if _cache is None or _cache[0] != source:
        _cache = (source, ResolvedConfig(written))
    return _cache[1]
