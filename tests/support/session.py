"""Resources of one test run, and a check for leaks."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support import docker_engine, processes
from support.hosts import LABEL, RUN, DockerHost, Host, remove_leftovers
from support.images import CHOSEN, HERE, MACHINES
from support.local_host import LocalHost
from support.loopback_host import LoopbackHost


class Session:
    """Resources of one test run: a directory, the Docker engine, the host."""

    def __init__(self) -> None:
        # Short: the path of a control socket is limited to 104 bytes, of which ssh needs 17.
        self.root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
        self.folders = [self.root]
        self.leaks: list[str] = []
        if CHOSEN == HERE:
            # tests with containers are for SSH
            self.docker, self.choice = None, MACHINES[CHOSEN].summary
            return
        try:
            self.docker = docker_engine.connect()
            remove_leftovers(self.docker)
            self.choice = (
                f"dockerised sshd (Docker engine {self.docker.version()['Version']}, {MACHINES[CHOSEN].summary})"
            )
        except docker_engine.NoEngine as reason:
            self.docker = None
            self.choice = f"loopback sshd on this machine: {reason}"

    def make_host(self) -> Host:
        if CHOSEN == HERE:
            return LocalHost(self.root / "host")
        if self.docker is None:
            return LoopbackHost(self.root / "host")
        return DockerHost(self.root / "host", CHOSEN, self.docker)

    def clear(self) -> None:
        """Remove everything the tests left behind, and list it in `leaks`."""
        named = [p for p in processes.running() if any(p.names(str(folder)) for folder in self.folders)]
        # the resource tracker of multiprocessing runs until the interpreter exits
        children = [p for p in processes.family(os.getpid())[1:] if "from multiprocessing" not in p.args]
        left = {p.pid: p for p in named + children if p.pid != os.getpid()}.values()
        self.leaks += [f"process {p.pid}: {p.args}" for p in left]
        processes.kill([p.pid for p in left])
        runtime_folders = [str(path) for path in self.root.glob("r-*")]
        self.leaks += [f"folder {path}" for path in runtime_folders]
        shutil.rmtree(self.root)
        if self.docker is not None:
            for container in self.docker.containers.list(all=True, filters={"label": f"{LABEL}={RUN}"}):
                self.leaks.append(f"container {container.name}")
                container.remove(force=True, v=True)
            own = {"label": f"{LABEL}={RUN}"}
            for left_over in [*self.docker.networks.list(filters=own), *self.docker.volumes.list(filters=own)]:
                self.leaks.append(f"network or volume {left_over.name}")
                left_over.remove()
            self.docker.close()


SESSION = pytest.StashKey[Session]()
