"""An HTCondor pool: a submit machine with the central daemons and sshd, an execute machine, and a shared home."""

from __future__ import annotations

from pathlib import Path

import docker

from support import processes
from support.container_cluster import LOGIN, ContainerCluster
from support.images import build

SUBMIT, NODE = LOGIN, "c1"

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


class Pool(ContainerCluster):
    """The submit machine is the SSH host; the execute machine is another container."""

    kind = "htcondor"

    def __init__(self, root: Path, client: docker.DockerClient) -> None:
        super().__init__(root, "debian13", client)

    def _image(self) -> docker.models.images.Image:
        plain = super()._image()
        return build(self.client, "Dockerfile.htcondor", "htcondor", BASE=plain.id)

    def files(self, member: str) -> dict[str, str]:
        text = f"{CONFIGURATION}DAEMON_LIST = MASTER {DAEMONS[member]}\n"
        return {"etc/condor/config.d/90-test.conf": text}

    def _start(self) -> None:
        self._connect()
        self._start_login("condor_master && exec /usr/sbin/sshd -D -E /var/log/sshd.log")
        self._start_node(NODE, "exec condor_master -f")

    def wait_for_nodes(self, *, seconds: float = 60) -> None:
        """Wait until the collector knows the execute machine and the schedd answers."""

        def ready() -> bool:
            machines = self.condor("condor_status", "-startd", "-af", "Machine").split()
            return NODE in machines and "0" in self.condor("condor_q", "-totals", "-allusers")

        processes.wait_until(ready, "the pool", seconds)

    def diagnostics(self) -> str:
        parts = [self.condor("condor_status", "-any"), self.condor("condor_q", "-allusers", "-nobatch")[:2000]]
        logs = [f"/var/log/condor/{name}" for name in ("MasterLog", "NegotiatorLog", "SchedLog", "ShadowLog")]
        parts.append(self.run("tail", "-n", "15", *logs, user="root", check=False))
        end = "tail -n 15 /var/log/condor/StartLog /var/log/condor/StarterLog*"
        parts += [node.exec_run(["sh", "-c", end]).output.decode(errors="replace") for node in self.nodes.values()]
        return "\n".join(parts)

    def condor(self, *argv: str) -> str:
        """Run a command of HTCondor as administrator; `calls` does not list it."""
        folder = "/usr/sbin" if argv[0] in ("condor_on", "condor_off", "condor_reconfig") else "/usr/bin"
        return self.run(f"{folder}/{argv[0]}", *argv[1:], user="root", check=False)

    def configure(self, *lines: str) -> None:
        """Replace what was configured by this method before, on the submit machine."""
        text = "".join(f"{line}\n" for line in lines)
        self.run("sh", "-c", "cat >/etc/condor/config.d/95-test.conf", user="root", input=text)
        self.condor("condor_reconfig", "-schedd")
