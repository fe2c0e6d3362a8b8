"""The host of a program that runs by hand: a container, or without a Docker engine the loopback sshd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import docker_engine
from support.hosts import DockerHost, Host
from support.loopback_host import LoopbackHost


def any_host(folder: Path, **container: Any) -> Host:
    """Return a host that is not started; `container` are options of a container."""
    try:
        return DockerHost(folder, client=docker_engine.connect(), **container)
    except docker_engine.NoEngine:
        return LoopbackHost(folder)
