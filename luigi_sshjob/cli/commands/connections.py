"""`luigi-sshjob login`, `logout` and `connections`: the shared connections, for the person at the terminal."""

from __future__ import annotations

import argparse
import shlex
import sys
import time

from rich.table import Table
from rich.text import Text

from luigi_sshjob import config
from luigi_sshjob.cli.render import format_age, print_json, print_rich
from luigi_sshjob.errors import ConfigurationError
from luigi_sshjob.ssh.local.runtime_dir import runtime_dir
from luigi_sshjob.ssh.transports.openssh.control_master import ControlMaster
from luigi_sshjob.ssh.transports.openssh.open_connections import open_connections
from luigi_sshjob.ssh.transports.openssh.transport import OpenSSHTransport
from luigi_sshjob.ssh.transports.session_limit import SessionLimiter
from luigi_sshjob.targets.context import RemoteContext


def login(arguments: argparse.Namespace) -> int:
    """Open the shared connection, with ssh's prompts at this terminal."""
    master = _master(arguments)
    host, keep = arguments.host, int(arguments.keep)
    if not master.log_in_by_hand(keep):
        print(f"there is a connection to {host} already; `luigi-sshjob logout {shlex.quote(host)}` ends it")
        return 0
    # a last use now; each later one moves it
    until = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time.time() + keep))
    print(f"logged in on {host}. The connection is kept until {until}, or for {format_age(keep)} after its last use;")
    print(f"`luigi-sshjob logout {shlex.quote(host)}` ends it. Tasks that wait for it go on.")
    return 0


def logout(arguments: argparse.Namespace) -> int:
    """End the shared connection; jobs keep running. Returns 1 if there is none."""
    master = _master(arguments)
    if not master.alive():
        print(f"there is no connection to {arguments.host}", file=sys.stderr)
        return 1
    master.end()
    print(f"the connection to {arguments.host} has ended; its jobs keep running")
    return 0


def connections(arguments: argparse.Namespace) -> int:
    """List the open connections of this account on this machine."""
    directory = runtime_dir(config.get_settings().runtime_dir)
    rows = [
        (
            each.host,
            round(time.time() - each.opened),
            each.keep,
            SessionLimiter(directory, key, config.get_settings(each.host).max_sessions).in_use(),
        )
        for key, each in open_connections(directory)
    ]
    if arguments.json:
        # docs/cli.rst documents the keys
        names = ("host", "open_for", "kept_after_last_use", "sessions")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("HOST", "OPEN FOR", "KEPT AFTER LAST USE", "SESSIONS"):
        table.add_column(heading)
    for host, age, keep, sessions in rows:
        # not as a str, which rich would interpret as markup
        table.add_row(Text(host), format_age(age), format_age(keep), str(sessions))
    print_rich(table)
    return 0


def _master(arguments: argparse.Namespace) -> ControlMaster:
    options = {name: getattr(arguments, name) for name in ("key_file", "no_host_key_check", "sshpass", "transport")}
    transport = RemoteContext(arguments.host, **options).connection.transport
    if not isinstance(transport, OpenSSHTransport):
        raise ConfigurationError(
            "only the transport openssh has a connection that is kept for all processes",
            host=arguments.host,
            next_step="set transport to openssh for this host, if it needs a login by hand",
        )
    if transport.settings.existing_master == "require":
        raise ConfigurationError(
            "existing_master is require, so your own ssh opens and closes this connection",
            host=arguments.host,
            next_step=f"run `{transport.destination.by_hand(transport.settings.ssh_config)}`, and end it with -O exit",
        )
    return transport.master
