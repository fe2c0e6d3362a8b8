"""The ssh configuration of a destination, read by paramiko's parser."""

from __future__ import annotations

import dataclasses
import logging
import os

import paramiko

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.local.runtime_dir import local_username
from luigi_sshjob.ssh.transports.error_mapping import key_file_missing
from luigi_sshjob.ssh.transports.paramiko.config_text import invalid_config, read_config_text

logger = logging.getLogger("luigi-interface")

_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclasses.dataclass(frozen=True)
class HostConfig:
    """Where to connect, as which user, with which keys. `~` is expanded in file names."""

    hostname: str
    port: int
    username: str
    key_name: str
    """The host's name in known_hosts."""
    key_port: int
    known_hosts: tuple[str, ...]
    identities: tuple[str, ...]
    certificates: tuple[str, ...]
    """In addition to those next to the keys."""
    identities_only: bool
    """Whether other keys of the agent are not used."""
    jumps: tuple[str, ...]
    proxy_command: str | None


def load_host_config(destination: Destination, settings: Settings) -> HostConfig:
    """The configuration of a destination; `ssh_options` take precedence. Raises `ConfigurationError`."""
    options = _read_options(settings, destination)
    hostname, port = str(options["hostname"]), destination.port or int(options.get("port", "22"))
    alias = options.get("hostkeyalias")
    key_files = [destination.key_file] if destination.key_file else []
    if destination.key_file and not os.path.exists(os.path.expanduser(destination.key_file)):
        raise key_file_missing(destination)
    return HostConfig(
        hostname=hostname,
        port=port,
        username=destination.username or options.get("user") or local_username(),
        key_name=alias or hostname,
        # known_hosts has an alias without a port
        key_port=22 if alias else port,
        known_hosts=(
            *_split_files(options.get("userknownhostsfile", _USER_KNOWN_HOSTS)),
            *_split_files(options.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS)),
        ),
        identities=tuple(map(os.path.expanduser, [*key_files, *options.get("identityfile", ())] or _IDENTITIES)),
        certificates=tuple(_split_files(options.get("certificatefile", ""))),
        # a server counts each key that is tried, and locks the account after some
        identities_only=bool(key_files) or options.get("identitiesonly", "no").lower() == "yes",
        jumps=_jumps(options, destination, hostname),
        proxy_command=_proxy_command(options),
    )


def config_text(settings: Settings, destination: Destination) -> str:
    """The text of the configuration files. Raises `ConfigurationError`, but not for the system's file."""
    try:
        return read_config_text(settings.ssh_config, str(destination))
    except ConfigurationError:
        if settings.ssh_config:
            raise
        return read_config_text("", str(destination), system=False)


def _read_options(settings: Settings, destination: Destination) -> paramiko.SSHConfigDict:
    try:
        return _lookup(config_text(settings, destination), destination)
    except ConfigurationError as error:
        if settings.ssh_config:
            raise
        # some systems have what paramiko does not know, such as `Match final all`
        options = _lookup(read_config_text("", str(destination), system=False), destination)
        logger.warning("%s: paramiko ignores /etc/ssh/ssh_config: %s", destination, error.problem)
        return options


def _lookup(text: str, destination: Destination) -> paramiko.SSHConfigDict:
    try:
        return paramiko.SSHConfig.from_text(text).lookup(destination.host)
    except paramiko.ConfigParseError as error:
        raise invalid_config(str(error), str(destination)) from error
    except ImportError as error:
        raise invalid_config("for Match exec paramiko needs the package invoke", str(destination)) from error


def _split_files(text: str) -> list[str]:
    """File names separated by spaces, or a single one that contains spaces."""
    single = os.path.expanduser(text)
    return [single] if os.path.exists(single) else [os.path.expanduser(name.strip('"')) for name in text.split()]


def _jumps(options: paramiko.SSHConfigDict, destination: Destination, hostname: str) -> tuple[str, ...]:
    text = options.get("proxyjump") or "none"
    jumps = () if text.lower() == "none" else tuple(jump.strip() for jump in text.split(","))
    # `Host *` may set a jump host for every host, including the jump host itself
    return () if jumps and Destination.parse(jumps[-1], {}).host in (destination.host, hostname) else jumps


def _proxy_command(options: paramiko.SSHConfigDict) -> str | None:
    command = options.get("proxycommand")
    return str(command) if command and command.lower() != "none" else None
