"""The settings: `[sshjob]` of Luigi's configuration, `[sshjob.HOST]` for one host, `--sshjob-…` on a command line."""

from __future__ import annotations

import configparser

from luigi_sshjob.config import sources
from luigi_sshjob.config.resolve import ResolvedConfig
from luigi_sshjob.config.schema import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError

_known: tuple[object, ResolvedConfig] | None = None


def get_settings(host: str | Destination | None = None) -> Settings:
    """The settings as they are now for a host, as a task names it; without one, those that hold for all.

    The command line comes first, then the sections whose names lead to the host, the narrower one before the wider
    (`[sshjob.me@box:22]`, `[sshjob.me@box]`, `[sshjob.box:22]`, `[sshjob.box]`), then `[sshjob]`. Hosts are told
    apart by what the user calls them; ssh's configuration is not asked.

    Raises `ConfigurationError` for anything in these sections that is not understood, also in one of another host:
    before hours of work rather than after.
    """
    global _known
    try:
        written = sources.beginning_with_ours()
    except configparser.InterpolationError as error:
        raise ConfigurationError(
            f"Luigi's configuration refers to what is not there: {error.message}",
            next_step="set the variable, or correct the value",
        ) from error
    # to compare is all that is done each time; to check takes longer than a request to a host does
    source = (written, sources.command_line())
    if _known is None or _known[0] != source:
        _known = (source, ResolvedConfig(written))
    merged = _known[1]
    return merged.settings(Destination.parse(host, {}) if isinstance(host, str) else host)
