"""The cluster of a scheduler: an SSH host and nodes, which are containers in one network with a shared home."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Mapping
from pathlib import Path

import docker

from support.hosts import LABEL, RUN, DockerHost

LOGIN = "login"


class ContainerCluster(DockerHost):
    """The SSH host is the member `login`. A subclass starts the members, and says when they are ready."""

    start_seconds = 180.0
    """How long the nodes may take to be ready."""
    secret_files = frozenset[str]()
    """Those of `files` that only their owner may read."""

    def __init__(self, root: Path, machine: str, client: docker.DockerClient) -> None:
        super().__init__(root, machine, client)
        self.network: docker.models.networks.Network | None = None
        self.volume: docker.models.volumes.Volume | None = None
        self.nodes: dict[str, docker.models.containers.Container] = {}

    def files(self, member: str) -> Mapping[str, str]:
        """The configuration of a member: texts by their paths below /."""
        raise NotImplementedError

    def wait_for_nodes(self, *, seconds: float) -> None:
        """Wait until all nodes are ready."""
        raise NotImplementedError

    def diagnostics(self) -> str:
        """Return the state of nodes and jobs, and the ends of the logs."""
        raise NotImplementedError

    def printed(self) -> list[str]:
        """Return the ends of what the members printed."""
        members = {LOGIN: self.container, **self.nodes}
        return [f"{name}: {m.logs(tail=15).decode(errors='replace')}" for name, m in members.items() if m is not None]

    def wait_until_up(self) -> None:
        super().wait_until_up()
        try:
            self.wait_for_nodes(seconds=self.start_seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.diagnostics()}") from None

    def kill_on_node(self, node: str, pid: str) -> None:
        """Kill a process on a node."""
        assert self.nodes[node].exec_run(["kill", "-9", pid]).exit_code == 0

    def calls(self) -> list[str]:
        """Return the commands of the scheduler that the account ran on the SSH host."""
        return self.run("cat", "/var/tmp/calls").splitlines()

    def forget_calls(self) -> None:
        self.run("sh", "-c", ": >/var/tmp/calls")

    def stop(self) -> None:
        for node in self.nodes.values():
            node.remove(force=True, v=True)
        self.nodes = {}
        super().stop()
        if self.volume is not None:
            self.volume.remove(force=True)
            self.volume = None
        if self.network is not None:
            self.network.remove()
            self.network = None

    def _connect(self) -> None:
        """Make what the members share."""
        name = f"sshjob-{secrets.token_hex(4)}"
        self.network = self.client.networks.create(name, driver="bridge", labels={LABEL: RUN})
        self.volume = self.client.volumes.create(name, labels={LABEL: RUN})

    def _start_login(self, script: str) -> None:
        self.options = {**self._member(LOGIN), "command": _command(script)}
        super()._start()

    def _start_node(self, name: str, script: str, **options: object) -> None:
        self.nodes[name] = self.client.containers.create(
            self.image, _command(script), init=True, labels={LABEL: RUN}, **self._member(name), **options
        )
        self.nodes[name].put_archive("/", self._archive(name))
        self.nodes[name].start()

    def _member(self, name: str) -> dict[str, object]:
        assert self.network is not None
        assert self.volume is not None
        return {
            "hostname": name,
            "network": self.network.name,
            "networking_config": {self.network.name: self.client.api.create_endpoint_config(aliases=[name])},
            "volumes": {self.volume.name: {"bind": "/home", "mode": "rw"}},
        }

    def _keys(self) -> bytes:
        # before the container starts, like the keys
        assert self.container is not None
        self.container.put_archive("/", self._archive(LOGIN))
        return super()._keys()

    def _archive(self, member: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, text in self.files(member).items():
                entry, content = tarfile.TarInfo(path), text.encode()
                entry.size, entry.mode = len(content), 0o600 if path in self.secret_files else 0o644
                archive.addfile(entry, io.BytesIO(content))
        return buffer.getvalue()


def _command(script: str) -> list[str]:
    # a killed test run cannot remove its containers: the time limit ends them
    return ["timeout", "2h", "sh", "-c", script]
