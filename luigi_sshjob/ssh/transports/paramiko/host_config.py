"""What the ssh configuration says of a destination, read by paramiko's parser."""

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

logger = logging.getLogger("luigi-interface")

_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_KNOWN_TO_ALL = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclasses.dataclass(frozen=True)
class HostConfig:
    """Where to connect, as whom, with what. Files are as ssh_config(5) names them, `~` filled in."""

    hostname: str
    port: int
    username: str
    key_name: str
    """What known_hosts calls the host."""
    key_port: int
    known_hosts: tuple[str, ...]
    identities: tuple[str, ...]
    only_these: bool
    """Not others that the agent has."""
    jumps: tuple[str, ...]
    proxy_command: str | None


def load_host_config(destination: Destination, settings: Settings) -> HostConfig:
    """What the user has said of the destination, in `ssh_options` first. Raises `ConfigurationError`."""
    found = _configuration(settings.ssh_config, destination).lookup(destination.host)
    if "include" in found:
        logger.warning("%s: paramiko does not follow the Include of the ssh configuration", destination)
    hostname, port = str(found["hostname"]), destination.port or int(found.get("port", "22"))
    username = destination.username or found.get("user") or local_username()
    alias = found.get("hostkeyalias")
    named = [destination.key_file] if destination.key_file else []
    if destination.key_file and not os.path.exists(os.path.expanduser(destination.key_file)):
        raise key_file_missing(destination)
    return HostConfig(
        hostname=hostname,
        port=port,
        username=username,
        key_name=alias or hostname,
        # ssh(1) notes a host under its port too, unless the port is the usual one or an alias stands for it
        key_port=22 if alias else port,
        known_hosts=(
            *_files(found.get("userknownhostsfile", _KNOWN_HOSTS)),
            *_files(found.get("globalknownhostsfile", _KNOWN_TO_ALL)),
        ),
        identities=tuple(map(os.path.expanduser, [*named, *found.get("identityfile", ())] or _KEYS)),
        only_these=found.get("identitiesonly", "no").lower() == "yes",
        jumps=_jumps(found, destination, hostname),
        proxy_command=_proxy_command(found, hostname, port, username),
    )


def _configuration(path: str, destination: Destination) -> paramiko.SSHConfig:
    name = os.path.expanduser(path or "~/.ssh/config")
    try:
        return paramiko.SSHConfig.from_path(name)
    except FileNotFoundError:
        if not path:
            return paramiko.SSHConfig()
        problem = "there is no such file"
    except (OSError, UnicodeDecodeError, paramiko.ConfigParseError) as error:
        problem = str(error)
    raise ConfigurationError(
        f"the ssh configuration cannot be used: {name}: {problem}",
        host=str(destination),
        doing="logging in",
        next_step="correct it, or ssh_config in [sshjob]",
    )


def _files(text: str) -> list[str]:
    """Names in one line; one that holds spaces must be alone there."""
    whole = os.path.expanduser(text)
    return [whole] if os.path.exists(whole) else [os.path.expanduser(name.strip('"')) for name in text.split()]


def _jumps(found: paramiko.SSHConfigDict, destination: Destination, hostname: str) -> tuple[str, ...]:
    text = found.get("proxyjump") or "none"
    jumps = () if text.lower() == "none" else tuple(jump.strip() for jump in text.split(","))
    # `Host *` may give every host a jump host, also this one
    return () if jumps and Destination.parse(jumps[-1], {}).host in (destination.host, hostname) else jumps


def _proxy_command(found: paramiko.SSHConfigDict, hostname: str, port: int, username: str) -> str | None:
    command = found.get("proxycommand")
    if not command or command.lower() == "none":
        return None
    return str(command)
