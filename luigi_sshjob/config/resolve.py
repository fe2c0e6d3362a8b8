"""The settings of each host out of all that is written: what is told from what is not understood."""

from __future__ import annotations

import difflib
import re
from typing import Any

from luigi_sshjob.config import sources
from luigi_sshjob.config.schema import SETTINGS, Settings, setting_named
from luigi_sshjob.config.sources import OURS, Section
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError

Values = dict[str, Any]


class ResolvedConfig:
    """One state of the configuration, all of it checked. Raises `ConfigurationError`."""

    def __init__(self, written: dict[str, Section]):
        self._common: Values = {}
        self._of_hosts: list[tuple[Destination, Values]] = []
        for name, section in written.items():
            if name == OURS:
                self._common = _values(name, section)
            elif name.startswith(f"{OURS}."):
                host = _host(name)
                self._of_hosts.append((host, _values(name, section, host)))
            elif not re.match(rf"{OURS}\w", name):
                host_name = name[len(OURS) + 1 :] or "HOST"
                raise ConfigurationError(
                    f"a section of the configuration is nobody's: [{name}]", next_step=f"name it [{OURS}.{host_name}]"
                )
        # the narrower name last
        self._of_hosts.sort(key=lambda one: (one[0].username is not None, one[0].port is not None))
        self._command_line = _values_of_command_line()
        self._made: dict[Destination | None, Settings] = {}

    def settings(self, host: Destination | None) -> Settings:
        """Those for a host, or where there is none."""
        if host is not None:
            host = Destination(host.host, username=host.username, port=host.port)
        if host not in self._made:
            values = dict(self._common)
            for named, own in self._of_hosts:
                if host and _reaches(named, host):
                    values.update(own)
            self._made[host] = Settings(**{**values, **self._command_line})
        return self._made[host]


def _reaches(named: Destination, host: Destination) -> bool:
    return named.host == host.host and named.username in (None, host.username) and named.port in (None, host.port)


def _host(section: str) -> Destination:
    try:
        return Destination.parse(section[len(OURS) + 1 :], {})
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the section of a host has no name of one: [{section}]: {error.problem}", next_step=error.next_step
        ) from error


def _values(section: str, written: Section, host: Destination | None = None) -> Values:
    where = {"host": str(host)} if host else {}
    values: Values = {}
    for key, given in written.items():
        setting = setting_named(key)
        if setting is None:
            raise _unknown(key, section, host)
        if host and setting.shared:
            raise ConfigurationError(
                f"a setting cannot stand in the section of a host: {setting.name} in [{section}], as {setting.shared}",
                next_step=f"move it to [{OURS}]",
                **where,
            )
        if setting.name in values:
            raise ConfigurationError(
                f"a setting stands in its section twice, with - and with _: {setting.name} in [{section}]",
                next_step="keep one of the two",
                **where,
            )
        try:
            values[setting.name] = setting.value(given)
        except ValueError as wanted:
            raise ConfigurationError(
                f"a setting has a value that cannot be: {key} in [{section}] is {given!r}",
                next_step=f"give {wanted} in Luigi's configuration",
                **where,
            ) from None
    return values


def _values_of_command_line() -> Values:
    values: Values = {}
    for name, setting in SETTINGS.items():
        given = sources.given(name)
        if given is None:
            continue
        try:
            values[name] = setting.value(given)
        except ValueError as wanted:
            option = f"--{OURS}-{name.replace('_', '-')}"
            raise ConfigurationError(
                f"an option has a value that cannot be: {option} is {given!r}", next_step=f"give {wanted}"
            ) from None
    return values


def _unknown(key: str, section: str, host: Destination | None) -> ConfigurationError:
    right = [setting.name for setting in SETTINGS.values() if not (host and setting.shared)]
    close = difflib.get_close_matches(key.replace("-", "_").lower(), right, n=1)
    return ConfigurationError(
        f"there is no such setting: {key} in [{section}]{f'; {close[0]} is one' if close else ''}",
        host=str(host) if host else None,
        next_step=f"use {'one' if not close else f'{close[0]}, or another'} of {', '.join(right)}",
    )
