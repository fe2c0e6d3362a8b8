"""What one run of the tests uses, and a check that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support import docker_engine, processes
from support.hosts import LABEL, RUN, DockerHost, Host, LoopbackHost, remove_leftovers
from support.images import CHOSEN, MACHINES


class Session:
    """What one run of the tests uses, and must leave no trace of."""

    def __init__(self) -> None:
        # Short: a control socket's path may have 104 bytes, of which ssh itself takes 17.
        self.root = Path(tempfile.mkdtemp(prefix="sj-", dir="/tmp"))
        self.folders = [self.root]
        self.leaks: list[str] = []
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
        if self.docker is None:
            return LoopbackHost(self.root / "host")
        return DockerHost(self.root / "host", CHOSEN, self.docker)

    def clear(self) -> None:
        """List in `leaks`, and remove, what the tests left behind."""
        named = [p for p in processes.running() if any(p.names(str(folder)) for folder in self.folders)]
        # multiprocessing keeps a tracker for as long as the interpreter runs.
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
