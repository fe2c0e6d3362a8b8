"""The host of a program that runs by hand: a container, or without a Docker engine the loopback sshd."""

from __future__ import annotations

import contextlib
import os
import shutil
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


def remove(host: Host, root: Path, *folders: str) -> None:
    """End all processes that name the local directory, and remove it, the host, and directories on the host."""
    processes.kill([p.pid for p in processes.running() if p.names(str(root)) and p.pid != os.getpid()])
    for folder in folders:
        with contextlib.suppress(Exception):
            host.run("rm", "-rf", folder)
    host.stop()
    shutil.rmtree(root)
