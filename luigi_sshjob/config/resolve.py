"""Validates the sections of the configuration and merges them into the settings of each host."""

from __future__ import annotations

import difflib
import re
from typing import Any

from luigi_sshjob.config import sources
from luigi_sshjob.config.schema import SETTINGS, Settings, find_setting
from luigi_sshjob.config.sources import SECTION, Section
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError

Values = dict[str, Any]

_SIMILAR = 0.8  # of difflib.SequenceMatcher.ratio


class ResolvedConfig:
    """One validated state of the configuration. Raises `ConfigurationError`."""

    def __init__(self, sections: dict[str, Section]):
        self._common: Values = {}
        self._per_host: list[tuple[Destination, Values]] = []
        for name, section in sections.items():
            if name == SECTION:
                self._common = _parse_section(name, section)
            elif name.startswith(f"{SECTION}."):
                host = _parse_host(name)
                self._per_host.append((host, _parse_section(name, section, host)))
            elif not re.match(rf"{SECTION}\w", name) or _is_plural(name, section):
                host_name = re.sub(rf"^{SECTION}s?\W?", "", name) or "HOST"
                raise ConfigurationError(
                    f"unknown configuration section: [{name}]", next_step=f"rename it to [{SECTION}.{host_name}]"
                )
        # the most specific host last
        self._per_host.sort(key=lambda item: (item[0].username is not None, item[0].port is not None))
        self._command_line = _parse_command_line()
        self._cache: dict[tuple[str, str | None, int | None] | None, Settings] = {}

    def for_host(self, host: Destination | None) -> Settings:
        """Return the settings for a host, or the common ones for None."""
        name = (host.host, host.username, host.port) if host else None
        if name not in self._cache:
            values = dict(self._common)
            for section_host, section_values in self._per_host:
                if host and _matches(section_host, host):
                    values.update(section_values)
            self._cache[name] = Settings(**{**values, **self._command_line})
        return self._cache[name]

    def misspelt_section(self, host: Destination) -> str | None:
        """Return a section that no host uses, if this host has none and a similar name; None if there is no such."""
        if any(_matches(section, host) for section, _ in self._per_host):
            return None
        # a copy: other threads use more hosts
        used = [Destination(name[0], username=name[1], port=name[2]) for name in list(self._cache) if name]
        similar = (section for section, _ in self._per_host if _similar(section, host))
        return next((f"{SECTION}.{each}" for each in similar if not any(_matches(each, one) for one in used)), None)


def _is_plural(name: str, section: Section) -> bool:
    """Whether it is [sshjobs] or [sshjobs.HOST] with a setting of this package, and so not one of another package."""
    return bool(re.match(rf"{SECTION}s(\.|$)", name)) and any(find_setting(key) for key in section)


def _similar(section: Destination, host: Destination) -> bool:
    """Whether one may be meant to be the other: gpubx and gpubox, box and box.example.org, but not gpu1 and gpu2."""
    if host.username and section.username not in (None, host.username):
        return False
    a, b = section.host.lower(), host.host.lower()
    if a == b or ("." in a) != ("." in b):
        return a.partition(".")[0] == b.partition(".")[0]
    # machines of a cluster have names that differ in one character or in a number; so do addresses
    differences = sum(left != right for left, right in zip(a, b, strict=False))
    numbered = re.sub(r"\d+", "", a) == re.sub(r"\d+", "", b) or (len(a) == len(b) and differences == 1)
    return not numbered and difflib.SequenceMatcher(None, a, b).ratio() >= _SIMILAR


def _matches(section: Destination, host: Destination) -> bool:
    return section.host == host.host and section.username in (None, host.username) and section.port in (None, host.port)


def _parse_host(section: str) -> Destination:
    try:
        return Destination.parse(section[len(SECTION) + 1 :], {})
    except ConfigurationError as error:
        raise ConfigurationError(
            f"invalid host in the name of a configuration section: [{section}]: {error.problem}",
            next_step=error.next_step,
        ) from error


def _parse_section(section: str, keys: Section, host: Destination | None = None) -> Values:
    host_name = str(host) if host else None
    values: Values = {}
    for key, value in keys.items():
        setting = find_setting(key)
        if setting is None:
            raise _unknown_setting(key, section, host_name)
        if host and setting.global_reason:
            raise ConfigurationError(
                f"setting not allowed in the section of a host: {setting.name} in [{section}]; {setting.global_reason}",
                host=host_name,
                next_step=f"move it to [{SECTION}]",
            )
        if setting.name in values:
            raise ConfigurationError(
                f"setting given twice, with - and with _: {setting.name} in [{section}]",
                host=host_name,
                next_step="keep one of the two",
            )
        try:
            values[setting.name] = setting.parse(value)
        except ValueError as expected:
            raise ConfigurationError(
                f"invalid value for setting {key} in [{section}]: {value!r}",
                host=host_name,
                next_step=f"give {expected} in Luigi's configuration",
            ) from None
    return values


def _parse_command_line() -> Values:
    values: Values = {}
    for name, setting in SETTINGS.items():
        value = sources.command_line_value(name)
        if value is None:
            continue
        try:
            values[name] = setting.parse(value)
        except ValueError as expected:
            option = f"--{SECTION}-{name.replace('_', '-')}"
            raise ConfigurationError(
                f"invalid value for option {option}: {value!r}", next_step=f"give {expected}"
            ) from None
    return values


def _unknown_setting(key: str, section: str, host: str | None) -> ConfigurationError:
    names = [setting.name for setting in SETTINGS.values() if not (host and setting.global_reason)]
    close = difflib.get_close_matches(key.replace("-", "_").lower(), names, n=1)
    return ConfigurationError(
        f"unknown configuration setting: {key} in [{section}]{f'; did you mean {close[0]}?' if close else ''}",
        host=host,
        next_step=f"use {f'{close[0]}, or another' if close else 'one'} of {', '.join(names)}",
    )
