"""The command lines of ssh: options, and how a local process is started."""

from __future__ import annotations

import subprocess
from typing import Any, TypeVar

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.transports.error_mapping import login_error, no_program

Process = TypeVar("Process", bound="subprocess.Popen[Any]")

# The multiplexed way is tried before the proxy, so a client with a session never runs it, and one without
# ends here instead of logging in (measured with OpenSSH 9.2; see ssh_config(5), ControlPath).
CLIENT_OPTIONS = tuple(
    word
    for option in ("ControlMaster=no", "ProxyCommand=false", "RemoteCommand=none", "BatchMode=yes")
    for word in ("-o", option)
)


def way(destination: Destination, settings: Settings) -> list[str]:
    """The options that lead to the destination, but for its name."""
    words = ["-F", settings.ssh_config] if settings.ssh_config else []
    if destination.port:
        words += ["-p", str(destination.port)]
    if destination.key_file:
        words += ["-i", destination.key_file]
    if destination.no_host_key_check:
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    return words


def effective(destination: Destination, settings: Settings) -> dict[str, str]:
    """What ssh makes of its configuration for the destination: of each option, in lower case, the first value.

    Raises `ConfigurationError` where ssh cannot read it.
    """
    argv = ["ssh", "-G", *way(destination, settings), destination.reference]
    process: subprocess.Popen[bytes] = spawn(
        destination, subprocess.Popen, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode != 0:
        raise login_error(said, destination, settings.ssh_config)
    lines = [line.partition(" ") for line in reversed(said.splitlines())]
    return {name: value for name, _, value in lines}


def users_control_path(destination: Destination, settings: Settings) -> str:
    """Where the user's own ssh keeps its socket for the destination. Raises `ConfigurationError` where nowhere."""
    found = effective(destination, settings).get("controlpath", "none")
    if found == "none":
        raise ConfigurationError(
            "existing_master is require, but the ssh configuration has no ControlPath for this host",
            host=str(destination),
            next_step="give it ControlMaster auto and a ControlPath there, and log in once by hand",
        )
    return found


def spawn(destination: Destination, kind: type[Process], argv: list[str], **kwargs: Any) -> Process:
    """Starts a local process.

    Standard input is /dev/null unless the caller says otherwise: an ssh that reads the terminal in the
    background is stopped (spotify/luigi#2349).
    """
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    with translate_os_errors(f"starting {argv[0]}", host=str(destination)):
        try:
            return kind(argv, **kwargs)
        except FileNotFoundError as error:
            raise no_program(argv[0], str(destination)) from error
