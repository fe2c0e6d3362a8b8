"""An HTCondor pool: a submit machine with the central daemons and sshd, an execute machine, and a shared home."""

from __future__ import annotations

import io
import secrets
import tarfile
from pathlib import Path

import docker

from support import processes
from support.hosts import LABEL, RUN, DockerHost
from support.images import build

SUBMIT, NODE = "login", "c1"

# The package requires authentication: the machines share a password, and accounts are those of the submit machine.
# Without TRUST_UID_DOMAIN the execute machine would run jobs as nobody, as no DNS has a domain for these machines.
# Times are seconds; the default intervals are a minute or more. The lease of a job is the default: for that long the
# schedd or the machine may be away. A test of a lost machine sets job_lease_duration.
CONFIGURATION = f"""
CONDOR_HOST = {SUBMIT}
UID_DOMAIN = pool.test
FILESYSTEM_DOMAIN = pool.test
TRUST_UID_DOMAIN = True
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, PASSWORD
ALLOW_NEGOTIATOR_SCHEDD = condor_pool@* condor@*
ALLOW_ADVERTISE_STARTD = condor_pool@* condor@*
NUM_CPUS = 16
MEMORY = 20000
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
SCHEDD_INTERVAL_TIMESLICE = 1
JOB_START_DELAY = 0
RunBenchmarks = False
UPDATE_INTERVAL = 5
POLLING_INTERVAL = 2
PERIODIC_EXPR_INTERVAL = 3
PERIODIC_EXPR_TIMESLICE = 1
STARTER_UPDATE_INTERVAL = 3
SHADOW_QUEUE_UPDATE_INTERVAL = 5
STARTER_INITIAL_UPDATE_INTERVAL = 1
KILLING_TIMEOUT = 3
ALIVE_INTERVAL = 10
"""
DAEMONS = {SUBMIT: "COLLECTOR NEGOTIATOR SCHEDD", NODE: "STARTD"}


class Pool(DockerHost):
    """The submit machine is the SSH host; the execute machine is another container."""

    kind = "htcondor"

    def __init__(self, root: Path, client: docker.DockerClient) -> None:
        super().__init__(root, machine="debian13", client=client)
        self.network: docker.models.networks.Network | None = None
        self.volume: docker.models.volumes.Volume | None = None
        self.node: docker.models.containers.Container | None = None

    def _image(self) -> docker.models.images.Image:
        plain = super()._image()
        return build(self.client, "Dockerfile.htcondor", "htcondor", BASE=plain.id)

    def _start(self) -> None:
        name = f"sshjob-{secrets.token_hex(4)}"
        self.network = self.client.networks.create(name, driver="bridge", labels={LABEL: RUN})
        self.volume = self.client.volumes.create(name, labels={LABEL: RUN})
        self.options = {
            **self._member(SUBMIT),
            "command": ["timeout", "2h", "sh", "-c", "condor_master && exec /usr/sbin/sshd -D -E /var/log/sshd.log"],
        }
        super()._start()
        self.node = self.client.containers.create(
            self.image,
            ["timeout", "2h", "condor_master", "-f"],
            init=True,
            labels={LABEL: RUN},
            **self._member(NODE),
        )
        self.node.put_archive("/", _configuration(NODE))
        self.node.start()

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
        self.container.put_archive("/", _configuration(SUBMIT))
        return super()._keys()

    def wait_until_up(self) -> None:
        super().wait_until_up()
        try:
            self.wait_for_pool(seconds=60)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.diagnostics()}") from None

    def wait_for_pool(self, seconds: float = 60) -> None:
        """Wait until the collector knows the execute machine and the schedd answers."""

        def ready() -> bool:
            machines = self.condor("condor_status", "-startd", "-af", "Machine").split()
            return NODE in machines and "0" in self.condor("condor_q", "-totals", "-allusers")

        processes.wait_until(ready, "the pool", seconds)

    def diagnostics(self) -> str:
        """Return the state of the machines and jobs, and the ends of the logs."""
        parts = [self.condor("condor_status", "-any"), self.condor("condor_q", "-allusers", "-nobatch")[:2000]]
        logs = [f"/var/log/condor/{name}" for name in ("MasterLog", "NegotiatorLog", "SchedLog", "ShadowLog")]
        parts.append(self.run("tail", "-n", "15", *logs, user="root", check=False))
        if self.node is not None:
            end = "tail -n 15 /var/log/condor/StartLog /var/log/condor/StarterLog*"
            parts.append(self.node.exec_run(["sh", "-c", end]).output.decode(errors="replace"))
        return "\n".join(parts)

    def condor(self, *argv: str) -> str:
        """Run a command of HTCondor as administrator; `calls` does not list it."""
        folder = "/usr/sbin" if argv[0] in ("condor_on", "condor_off", "condor_reconfig") else "/usr/bin"
        return self.run(f"{folder}/{argv[0]}", *argv[1:], user="root", check=False)

    def kill_on_node(self, node: str, pid: str) -> None:
        """Kill a process on the execute machine."""
        assert self.node is not None
        assert node == NODE
        assert self.node.exec_run(["kill", "-9", pid]).exit_code == 0

    def configure(self, *lines: str) -> None:
        """Replace what was configured by this method before, on the submit machine."""
        text = "".join(f"{line}\n" for line in lines)
        self.run("sh", "-c", "cat >/etc/condor/config.d/95-test.conf", user="root", input=text)
        self.condor("condor_reconfig", "-schedd")

    def calls(self) -> list[str]:
        """Return the commands of HTCondor that the account ran on the submit machine."""
        return self.run("cat", "/var/tmp/calls").splitlines()

    def forget_calls(self) -> None:
        self.run("sh", "-c", ": >/var/tmp/calls")

    def stop(self) -> None:
        if self.node is not None:
            self.node.remove(force=True, v=True)
            self.node = None
        super().stop()
        if self.volume is not None:
            self.volume.remove(force=True)
            self.volume = None
        if self.network is not None:
            self.network.remove()
            self.network = None


def _configuration(machine: str) -> bytes:
    text = f"{CONFIGURATION}DAEMON_LIST = MASTER {DAEMONS[machine]}\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("etc/condor/config.d/90-test.conf")
        entry.size, entry.mode = len(text), 0o644
        archive.addfile(entry, io.BytesIO(text))
    return buffer.getvalue()
