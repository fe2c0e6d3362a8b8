"""The command lines of ssh."""

from __future__ import annotations

from pathlib import Path

from luigi_sshjob.destination import Destination

# ssh tries the control socket before the proxy, so a client with a session never runs the proxy, and a client
# without one fails here instead of logging in (measured with OpenSSH 9.2; see ssh_config(5), ControlPath).
_CLIENT_OPTIONS = ("ControlMaster=no", "ProxyCommand=false", "BatchMode=yes")
# at that level a client says whether it got the exit status of its command, in four lines (measured with OpenSSH 9.2)
_LOGGED = "LogLevel=DEBUG2"


def client_argv(control_path: str, forward_agent: bool, log: Path | None = None) -> list[str]:
    """The beginning of the command line of a client of the master, which cannot log in.

    It writes its own messages to the file `log`, so that they do not mix with those of the command; without one, errors
    only, to standard error.

    It reads no ssh configuration: that is for logins, and some of its options, such as SendEnv or StdinNull, would
    reach the jobs.
    """
    words = ["ssh", "-F", "none", "-S", literal(control_path)]
    words += ("-o", "LogLevel=ERROR") if log is None else ("-o", _LOGGED, "-E", str(log))
    for option in (*_CLIENT_OPTIONS, f"ForwardAgent={'yes' if forward_agent else 'no'}"):
        words += "-o", option
    return words


def literal(path: str) -> str:
    """A path as ssh needs it where it expands tokens such as %h."""
    return path.replace("%", "%%")


def address_options(destination: Destination) -> list[str]:
    """The options of a login on the destination; its name is not among them."""
    words = ["-p", str(destination.port)] if destination.port else []
    if destination.key_file:
        # not those of the agent: a server counts each one, and locks the account after some
        words += ["-i", literal(destination.key_file), "-o", "IdentitiesOnly=yes"]
    if destination.no_host_key_check:
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"]
    return words
