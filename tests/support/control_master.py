"""The connection behind a context."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

from luigi_sshjob import RemoteContext
from luigi_sshjob.ssh.transports.openssh.transport import OpenSSHTransport

from support import processes
from support.hosts import Host


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
    if isinstance(transport, OpenSSHTransport):
        kill_master(context)
    else:
        transport._connection.transport.sock.shutdown(socket.SHUT_RDWR)


def exit_masters(runtime_dir: Path, host: Host) -> None:
    """The connections in that runtime directory end in order; nobody waits for it."""
    # the leader has a socket too, with a suffix
    for path in [path for path in runtime_dir.glob("*") if path.is_socket() and not path.suffix]:
        argv = ["ssh", "-F", host.ssh_config, "-S", path, "-O", "exit", host.alias]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)


def end_masters(runtime_dir: Path, host: Host) -> None:
    """End the ControlMaster behind each socket, and wait until it is gone."""
    for path in [path for path in runtime_dir.rglob("*") if path.is_socket()]:
        ssh = ["ssh", "-F", str(host.ssh_config), "-S", str(path)]
        found = subprocess.run(
            [*ssh, "-O", "check", host.alias],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
        running = re.search(r"pid=(\d+)", found.stderr)
        if running is None:
            continue
        pid = int(running[1])
        subprocess.run(
            [*ssh, "-O", "exit", host.alias],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=True,
        )
        processes.wait_until(lambda pid=pid: not processes.alive(pid), f"the end of ControlMaster {pid}")
