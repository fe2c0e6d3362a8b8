"""A Slurm cluster: a login node with slurmctld and sshd, two compute nodes, and a shared home.

That of Debian 12 has no accounting; that of Debian 13 has, with limits, in a database on its login node.
"""

from __future__ import annotations

from pathlib import Path

import docker

from support import processes
from support.container_cluster import ContainerCluster
from support.images import build

NODES = ("c1", "c2")

# Slurm checks time limits every half minute. The other intervals are short, but allow for a machine that hangs for some
# seconds. If a node does not respond in time, its job is requeued for `cred_expire` seconds, by default two minutes:
# slurm.conf(5), AuthInfo.
CONFIGURATION = f"""
ClusterName=test
SlurmctldHost=login
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=15
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmctldTimeout=300
SlurmdTimeout=20
KillWait=3
MessageTimeout=10
MinJobAge=120
MaxArraySize=1001
ReturnToService=2
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
NodeName={",".join(NODES)} CPUs=16 RealMemory=20000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=50 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefMemPerCPU=50 PriorityTier=10
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"

ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=login
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
"""

DATABASE = """
AuthType=auth/munge
DbdHost=login
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=root
LogFile=/var/log/slurmdbd.log
PidFile=/run/slurmdbd.pid
"""

# `job` may submit two jobs at a time with the QOS `small` or for the account `limited`, and any number otherwise, but
# none with the QOS `unused` or for the account `others`. The cluster `other` has no slurmctld.
START_DATABASE = r"""
install -d -o mysql -g mysql /run/mysqld
mariadbd --user=mysql --skip-networking --innodb-flush-log-at-trx-commit=0 2>/var/log/mariadbd.log &
until mariadb-admin ping >/dev/null 2>&1; do sleep 0.1; done
# slurmdbd of Debian 13 could create it, but its client library then refuses all results on that connection
mariadb --execute='CREATE DATABASE IF NOT EXISTS slurm_acct_db'
slurmdbd
until sacctmgr --immediate show cluster >/dev/null 2>&1; do sleep 0.1; done
[ -z "$(sacctmgr --noheader show account lab)" ] || exit 0
{
  sacctmgr --immediate add cluster test other
  sacctmgr --immediate add qos small MaxSubmitJobsPerUser=2 GrpSubmitJobs=3
  sacctmgr --immediate add qos unused
  sacctmgr --immediate add account lab,limited,others cluster=test
  sacctmgr --immediate add user job account=lab cluster=test qos=normal,small defaultqos=normal
  sacctmgr --immediate add user job account=limited cluster=test MaxSubmitJobs=2
} </dev/null >/var/log/sacctmgr.log 2>&1
"""

MUNGE = "su -s /bin/sh munge -c munged"

# A slurmctld that cannot resolve the name of a node retries for ten seconds without serving requests, and then has no
# address for the node.
NODES_HAVE_NAMES = "; ".join(f"until getent hosts {node} >/dev/null; do sleep 0.1; done" for node in NODES)


class Cluster(ContainerCluster):
    """The login node is the SSH host; the compute nodes are other containers."""

    kind = "slurm"
    # slurmdbd refuses a configuration that others can read
    secret_files = frozenset({"etc/slurm/slurmdbd.conf"})

    def __init__(self, root: Path, client: docker.DockerClient, *, accounting: bool = False) -> None:
        super().__init__(root, "debian13" if accounting else "debian12", client)
        self.accounting = accounting

    def _image(self) -> docker.models.images.Image:
        plain = super()._image()
        if not self.accounting:
            return build(self.client, "Dockerfile.slurm", "slurm", BASE=plain.id)
        packages = "slurmdbd mariadb-server"
        return build(self.client, "Dockerfile.slurm", "slurm-accounting", BASE=plain.id, PACKAGES=packages)

    def files(self, member: str) -> dict[str, str]:
        files = {"etc/slurm/slurm.conf": CONFIGURATION + (ACCOUNTING if self.accounting else NO_ACCOUNTING)}
        if self.accounting:
            files |= {"etc/slurm/slurmdbd.conf": DATABASE, "etc/slurm/start-database": START_DATABASE}
        return files

    def _start(self) -> None:
        self._connect()
        database = "sh /etc/slurm/start-database && " if self.accounting else ""
        self._start_login(
            f"{NODES_HAVE_NAMES}; {MUNGE} && {database}slurmctld && exec /usr/sbin/sshd -D -E /var/log/sshd.log"
        )
        for node in NODES:
            # for a job's --export, slurmd of Debian 13 makes namespaces, and ends if it may not
            capabilities = ["SYS_ADMIN"] if self.accounting else None
            self._start_node(node, f"{MUNGE} && exec slurmd -D", cap_add=capabilities)

    def diagnostics(self) -> str:
        parts = [self.slurm("scontrol", "show", "nodes"), self.slurm("squeue", "--states=all")[:2000]]
        parts.append(self.run("tail", "-n", "30", "/var/log/slurmctld.log", user="root", check=False))
        return "\n".join([*parts, *self.printed()])

    def wait_for_nodes(self, state: str = "idle", node: str = ",".join(NODES), seconds: float = 60) -> None:
        """Wait until the nodes have the given state."""

        def ready() -> bool:
            states = self.slurm("sinfo", "--noheader", "--Node", "--partition=main", f"--nodes={node}", "--format=%T")
            return set(states.split()) == {state}

        processes.wait_until(ready, f"nodes {node} to be {state}", seconds)

    def slurm(self, *argv: str) -> str:
        """Run a Slurm command as administrator; `calls` does not list it."""
        return self.run(f"/usr/bin/{argv[0]}", *argv[1:], user="root", check=False)
