"""Breaks and ends the connections of the tests."""

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
    """Return the pid of the ControlMaster; fails without one."""
    check = [*context.connection.transport.master.client_argv(), "-O", "check", "x"]
    stderr = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"pid=(\d+)", stderr)[1])


def kill_master(context: RemoteContext) -> None:
    """Kill the ControlMaster, so that its connection breaks without notice."""
    processes.kill([master_pid(context)])


def break_connection(context: RemoteContext) -> None:
    """Break the connection of either transport."""
    transport = context.connection.transport
    if isinstance(transport, OpenSSHTransport):
        kill_master(context)
    else:
        transport._connection.transport.sock.shutdown(socket.SHUT_RDWR)


def exit_masters(runtime_dir: Path, host: Host) -> None:
    """Ask the ControlMasters in a runtime directory to exit, and do not wait for them."""
    # the leader's socket has a suffix
    for path in [path for path in runtime_dir.glob("*") if path.is_socket() and not path.suffix]:
        argv = ["ssh", "-F", host.ssh_config, "-S", path, "-O", "exit", host.alias]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True)


def end_masters(runtime_dir: Path, host: Host) -> None:
    """Stop the ControlMaster behind each socket, and wait for its end."""
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
