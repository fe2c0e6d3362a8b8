"""An SSH destination: the host and the options with which it is reached."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from luigi_sshjob.errors import ConfigurationError

# [address]:port, name:port, or an IPv6 address without brackets
_ADDRESS = re.compile(
    r"\[(?P<bracketed>[^\[\]]+)\](?::(?P<p1>\d+))?|(?P<name>[^:\[\]]+)(?::(?P<p2>\d+))?|(?P<ipv6>[^\[\]]+)"
)


@dataclasses.dataclass(frozen=True)
class Destination:
    """A host and the keywords of `luigi.contrib.ssh.RemoteContext`; ssh_config(5) has the defaults.

    Two keywords are added: `transport`, a name, and `password`, a function that responds to the host's prompts.
    """

    host: str
    username: str | None = None
    key_file: str | None = None
    connect_timeout: int | None = None
    port: int | None = None
    no_host_key_check: bool = False
    sshpass: bool = False
    tty: bool = False
    transport: str | None = None
    # not compared: a lambda is another object each time
    password: Callable[[str], str] | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def parse(cls, host: str, options: Mapping[str, Any]) -> Destination:
        """`host` is an alias or address, also as user@host, host:port or user@host:port.

        Raises `ConfigurationError` for unknown keywords and for values that are not safe in an ssh command line.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"host"}
        unknown = sorted(map(str, set(options) - known))
        if unknown:
            raise ConfigurationError(
                f"unknown ssh option: {', '.join(unknown)}",
                host=str(host),
                next_step=f"use one of {', '.join(sorted(known))}",
            )
        values = {name: value for name, value in options.items() if value is not None}
        username, _, address = host.rpartition("@") if isinstance(host, str) else ("", "", "")
        match = _ADDRESS.fullmatch(address)
        printable = isinstance(host, str) and host.isprintable()
        # ssh would read a leading dash as an option, such as ProxyCommand
        if not match or not printable or " " in host or address.startswith("-"):
            raise ConfigurationError(
                f"invalid host name: {host!r}", next_step="use an alias of ~/.ssh/config, or user@host:port"
            )
        if username:
            values.setdefault("username", username)
        if match["p1"] or match["p2"]:
            values.setdefault("port", match["p1"] or match["p2"])
        name = match["bracketed"] or match["name"] or match["ipv6"]
        return cls(host=name, **_checked(host, values))

    @property
    def reference(self) -> str:
        """The argument for ssh's command line: user@host, without the port."""
        return f"{self.username}@{self.host}" if self.username else self.host

    def __str__(self) -> str:
        if not self.port:
            return self.reference
        # brackets separate an IPv6 address from the port
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.username}@{host}:{self.port}" if self.username else f"{host}:{self.port}"

    def by_hand(self, ssh_config: str = "") -> str:
        """The ssh command with which a person reaches the same account, for messages."""
        words = ["ssh"]
        for option, value in (("-F", ssh_config), ("-p", self.port), ("-i", self.key_file)):
            if value:
                words += option, shlex.quote(str(value))
        return " ".join([*words, shlex.quote(self.reference)])

    @property
    def login_command(self) -> str:
        """The command of this package with which a person logs in."""
        words = ["luigi-sshjob", "login", shlex.quote(str(self))]
        for option, value in (("--key-file", self.key_file), ("--transport", self.transport)):
            if value:
                words += option, shlex.quote(value)
        return " ".join([*words, *(["--no-host-key-check"] if self.no_host_key_check else [])])

    def key(self, *more: str) -> str:
        """A name of 12 characters for the connection, as socket paths are short; equal if it may be shared."""
        login = (
            self.host,
            self.username,
            self.port,
            self.key_file,
            self.no_host_key_check,
            self.sshpass,
            *more,
        )
        return hashlib.sha256(repr(login).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _checked(host: str, values: dict[str, Any]) -> dict[str, Any]:
    for name, value in list(values.items()):
        if name in ("port", "connect_timeout"):
            values[name] = _integer(name, value, host)
        elif name in ("username", "key_file", "transport"):
            values[name] = _text(name, value, host)
    if not 0 < values.get("port", 22) < 65536:
        raise _invalid(f"invalid port number: {values['port']}", host, "use 1 to 65535")
    if values.get("connect_timeout", 0) < 0:
        raise _invalid(f"connect_timeout must not be negative: {values['connect_timeout']}", host)
    if not callable(values.get("password", str)):
        next_step = "set it to a function that takes a prompt and returns the response"
        raise _invalid("password must be a function", host, next_step)
    return values


def _integer(name: str, value: Any, host: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise _invalid(f"invalid integer for ssh option {name}: {value!r}", host) from None


def _text(name: str, value: Any, host: str) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str) and text and text.isprintable() and text[0] != "-":
        return text
    raise _invalid(f"invalid value for ssh option {name}: {value!r}", host)


def _invalid(problem: str, host: str, next_step: str = "correct ssh_options") -> ConfigurationError:
    return ConfigurationError(problem, host=host, next_step=next_step)
