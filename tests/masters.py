"""The connection behind a context."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import processes
from hosts import Host

from luigi_sshjob import RemoteContext
from luigi_sshjob.ssh.openssh import OpenSSH


def master_pid(context: RemoteContext) -> int:
    """Of the process; fails where there is none."""
    check = [*context.connection.transport.master.ssh_argv(), "-O", "check", "x"]
    said = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"pid=(\d+)", said)[1])


def kill_master(context: RemoteContext) -> None:
    """The connection breaks, without a word to anybody."""
    processes.kill([master_pid(context)])


def break_connection(context: RemoteContext) -> None:
    """The connection breaks, by whatever transport; a paramiko one is this process's."""
    transport = context.connection.transport
    if isinstance(transport, OpenSSH):
        kill_master(context)
    else:
        transport._link.transport.sock.shutdown(socket.SHUT_RDWR)


def exit_masters(runtime_dir: Path, host: Host) -> None:
    """The connections in that runtime directory end in order; nobody waits for it."""
    # the leader has a socket too, with a suffix
    for path in [path for path in runtime_dir.glob("*") if path.is_socket() and not path.suffix]:
        argv = ["ssh", "-F", host.ssh_config, "-S", path, "-O", "exit", host.alias]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)
