"""A Grid Engine cluster: a login node with qmaster and sshd, two execution nodes, and a shared home."""

from __future__ import annotations

from pathlib import Path

import docker

from support import processes
from support.container_cluster import LOGIN, ContainerCluster
from support.images import build

NODES = ("c1", "c2")
MEMBERS = (LOGIN, *NODES)

# Grid Engine resolves an address to a name, for which an engine's name service has the name of the container.
RESOLVE = r"""
for member in {members}; do
  until address=$(getent ahostsv4 "$member" | grep -m 1 -o '^[0-9.]*'); do sleep 0.1; done
  grep -q "^$address[[:space:]]" /etc/hosts || echo "$address $member" >>/etc/hosts
done
"""

# The first start configures an empty cell: what differs from the defaults, which qconf prints. Notice times, intervals
# and the delay of the accounting are short. `long` gives jobs more notice, and no job is sent there that does not ask.
CONFIGURE = r"""
PATH=/usr/sbin:/usr/bin:/sbin:/bin  # not what is counted
install -d -o sgeadmin -g sgeadmin /run/gridengine
sge_qmaster
[ ! -e /home/.configured ] || exit 0
# it may listen only after its start has returned
until qconf -sconf >/dev/null 2>&1; do sleep 0.1; done
cd "$(mktemp -d)"
# `change NAME VALUE` for `sed`: replaces a parameter, whose value may continue on the next lines
change() {{ sed -e ":a;/\\\\$/{{N;s/\\\\\n *//;ba}}" -e "s|^$1  *.*|$1 $2|"; }}
set -e
qconf -sconf | change load_report_time 00:00:01 | change max_unheard 00:00:15 | change loglevel log_info |
  change max_aj_tasks 1000 |
  change reporting_params 'accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00' >global
qconf -Mconf global
qconf -ssconf | change schedule_interval 0:0:1 | change flush_submit_sec 1 | change flush_finish_sec 1 |
  change job_load_adjustments NONE | change load_adjustment_decay_time 0:0:0 >schedule
qconf -Msconf schedule
for node in {nodes}; do
  qconf -ah "$node"
  printf '%s\n' "hostname $node" 'load_scaling NONE' 'complex_values NONE' 'user_lists NONE' 'xuser_lists NONE' \
    'projects NONE' 'xprojects NONE' 'usage_scaling NONE' 'report_variables NONE' >node
  qconf -Ae node
done
qconf -as login
printf '%s\n' 'group_name @allhosts' 'hostlist {nodes}' >group
qconf -Ahgrp group
qconf -Ap /usr/share/gridengine/util/resources/pe/smp
queue() {{
  qconf -sq | change qname "$1" | change hostlist @allhosts | change slots 16 | change pe_list 'make smp' |
    change load_thresholds NONE | change notify "00:00:$2" | change user_lists "$3"
}}
qconf -Ap /usr/share/gridengine/util/resources/pe/make
qconf -au root admins
queue all.q 03 NONE >queue
qconf -Aq queue
queue long.q 08 NONE | change seq_no 10 >queue
qconf -Aq queue
queue admin.q 03 admins | change seq_no 20 >queue
qconf -Aq queue
touch /home/.configured
"""


class Cluster(ContainerCluster):
    """The login node is the SSH host; the execution nodes are other containers."""

    kind = "sge"

    def __init__(self, root: Path, client: docker.DockerClient) -> None:
        super().__init__(root, "debian12", client)

    def _image(self) -> docker.models.images.Image:
        plain = super()._image()
        return build(self.client, "Dockerfile.sge", "sge", BASE=plain.id)

    def files(self, member: str) -> dict[str, str]:
        return {
            "etc/sge-resolve": RESOLVE.format(members=" ".join(MEMBERS)),
            "etc/sge-configure": CONFIGURE.format(nodes=" ".join(NODES)),
        }

    def _start(self) -> None:
        self._connect()
        for node in NODES:
            # before that, qmaster may reject it or leave its first request without a response
            self._start_node(
                node, _resolved("until [ -e /home/.configured ]; do sleep 0.1; done; SGE_ND=1 exec sge_execd")
            )
        self._start_login(_resolved("sh /etc/sge-configure & exec /usr/sbin/sshd -D -E /var/log/sshd.log"))

    def diagnostics(self) -> str:
        parts = [self.sge("qstat", "-f", "-u", "*")[:4000], self.sge("qhost")]
        log = "/var/spool/gridengine/qmaster/messages"
        parts.append(self.run("tail", "-n", "30", log, user="root", check=False))
        return "\n".join([*parts, *self.printed()])

    def wait_for_nodes(self, state: str = "", node: str = ",".join(NODES), seconds: float = 60) -> None:
        """Wait until the queues of the nodes have the given state, as qstat(1) abbreviates it; "" is ready."""
        wanted = {f"all.q@{name}" for name in node.split(",")}

        def ready() -> bool:
            lines = [line.split() for line in self.sge("qstat", "-f").splitlines()]
            # name, type, slots, load, architecture, state
            states = {
                words[0]: "".join(words[5:]) for words in lines if words and words[0] in wanted and len(words) > 3
            }
            loads = {words[3] for words in lines if words and words[0] in wanted and len(words) > 3}
            return states.keys() == wanted and set(states.values()) == {state} and (bool(state) or "-NA-" not in loads)

        processes.wait_until(ready, f"nodes {node} to be {state or 'ready'}", seconds)

    def sge(self, *argv: str) -> str:
        """Run a Grid Engine command as administrator; `calls` does not list it."""
        return self.run(f"/usr/bin/{argv[0]}", *argv[1:], user="root", check=False)


def _resolved(script: str) -> str:
    """The script, after the names of the members are known."""
    return f"sh /etc/sge-resolve && {{ {script}; }}"
