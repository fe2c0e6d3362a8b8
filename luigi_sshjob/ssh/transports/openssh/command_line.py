"""The command lines of ssh, and the start of a local process."""

from __future__ import annotations

import subprocess
from typing import Any, TypeVar

from luigi_sshjob.config import Settings
from luigi_sshjob.destination import Destination
from luigi_sshjob.error_context import translate_os_errors
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.transports.error_mapping import login_error, program_missing

Process = TypeVar("Process", bound="subprocess.Popen[Any]")

# ssh tries the control socket before the proxy, so a client with a session never runs the proxy, and a client
# without one fails here instead of logging in (measured with OpenSSH 9.2; see ssh_config(5), ControlPath).
CLIENT_OPTIONS = tuple(
    word
    for option in ("ControlMaster=no", "ProxyCommand=false", "RemoteCommand=none", "BatchMode=yes")
    for word in ("-o", option)
)


def destination_options(destination: Destination, settings: Settings) -> list[str]:
    """The options that select the destination; its name is not among them."""
    words = ["-F", settings.ssh_config] if settings.ssh_config else []
    if destination.port:
        words += ["-p", str(destination.port)]
    if destination.key_file:
        words += ["-i", destination.key_file]
    if destination.no_host_key_check:
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    return words


def resolved_config(destination: Destination, settings: Settings) -> dict[str, str]:
    """The output of `ssh -G`: the first value of each option, by its name in lower case.

    Raises `ConfigurationError` if ssh cannot read its configuration.
    """
    argv = ["ssh", "-G", *destination_options(destination, settings), destination.reference]
    process: subprocess.Popen[bytes] = spawn(
        destination, subprocess.Popen, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode != 0:
        raise login_error(output, destination, settings.ssh_config)
    lines = [line.partition(" ") for line in reversed(output.splitlines())]
    return {name: value for name, _, value in lines}


def users_control_path(destination: Destination, settings: Settings) -> str:
    """The ControlPath of the user's own ssh for the destination. Raises `ConfigurationError` if there is no such."""
    path = resolved_config(destination, settings).get("controlpath", "none")
    if path == "none":
        raise ConfigurationError(
            "existing_master is require, but the ssh configuration has no ControlPath for this host",
            host=str(destination),
            next_step="set ControlMaster auto and a ControlPath for the host, and log in once by hand",
        )
    return path


def spawn(destination: Destination, kind: type[Process], argv: list[str], **kwargs: Any) -> Process:
    """Start a local process.

    Standard input is /dev/null unless it is given: an ssh that reads the terminal in the background is stopped
    (spotify/luigi#2349).
    """
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    with translate_os_errors(f"starting {argv[0]}", host=str(destination)):
        try:
            return kind(argv, **kwargs)
        except FileNotFoundError as error:
            raise program_missing(argv[0], str(destination)) from error
