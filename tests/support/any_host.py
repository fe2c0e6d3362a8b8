"""The host of a program that runs by hand: a container, or without a Docker engine the loopback sshd."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from support import docker_engine, processes
from support.hosts import DockerHost, Host
from support.loopback_host import LoopbackHost


def any_host(folder: Path, **container: Any) -> Host:
    """Return a host that is not started; `container` are options of a container."""
    try:
        return DockerHost(folder, client=docker_engine.connect(), **container)
    except docker_engine.NoEngine:
        return LoopbackHost(folder)


def start_any_host(**container: Any) -> tuple[Path, Host, str]:
    """Start one, and return a new directory here, the host, and a new directory there; `remove` removes them."""
    # short, because the path of a control socket is limited to 104 bytes
    root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
    host = any_host(root / "host", **container)
    host.start()
    return root, host, host.run("mktemp", "-d").strip()


def remove(host: Host, root: Path, *folders: str) -> None:
    """End all processes that name the local directory, and remove it, the host, and directories on the host."""
    processes.kill([p.pid for p in processes.running() if p.names(str(root)) and p.pid != os.getpid()])
    for folder in folders:
        with contextlib.suppress(Exception):
            host.run("rm", "-rf", folder)
    host.stop()
    shutil.rmtree(root)
