"""Records what Slurm prints, for tests without one: `python -m support.record_slurm DIRECTORY`, in `tests`.

There is a directory for each version, with files of sections, see recordings.py. A slow command has its `seconds`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.slurm import SLURM

from support import docker_engine, processes
from support.slurm_cluster import Cluster
from support.slurm_recorder import FOREVER, WORK, Recorder

LONG_NAME = "k" * 150

PARTITIONS = """
PartitionName=short Nodes=ALL MaxTime=5 DefMemPerCPU=50
PartitionName=hidden Nodes=ALL Hidden=YES DefMemPerCPU=50
PartitionName=root_only Nodes=ALL AllowGroups=root,admins DefMemPerCPU=50
PartitionName=off Nodes=ALL State=DOWN DefMemPerCPU=50
PartitionName=drained Nodes=ALL State=DRAIN DefMemPerCPU=50
PartitionName=others Nodes=ALL AllowAccounts=others DefMemPerCPU=50
"""

REFUSED: dict[str, dict[str, Any]] = {
    "partition": {"partition": "nosuch"},
    "account": {"account": "nosuch"},
    "foreign_account": {"account": "others"},
    "qos": {"qos": "nosuch"},
    "foreign_qos": {"qos": "unused"},
    "option": {"bogus": 1},
    "ambiguous_option": {"mail": 1},
    "needless_value": {"exclusive": "nosuch"},
    "missing_value": {"mem": True},
    "time": {"time": "soon"},
    "past_deadline": {"deadline": "2001-01-01"},
    "too_many_nodes": {"nodes": 3},
    "no_nodes": {"nodes": 0},
    "too_many_cpus": {"cpus_per_task": 99},
    "too_much_memory": {"mem": "900G"},
    "memory": {"mem": "5X"},
    "gres": {"gres": "gpu:1"},
    "constraint": {"constraint": "nosuch"},
    "prefer": {"prefer": "nosuch"},
    "license": {"licenses": "nosuch"},
    "reservation": {"reservation": "nosuch"},
    "node": {"nodelist": "nosuch"},
    "dependency": {"dependency": "nosuch"},
    "group": {"partition": "root_only"},
    "drained": {"partition": "drained"},
    "begin": {"begin": "nosuch"},
    "mail_type": {"mail_type": "NOSUCH"},
    "tasks": {"ntasks": 0},
    "nice": {"nice": -5},
}


def record_submissions(recorder: Recorder) -> None:
    recorder.submit("single", "exit 0")
    recorder.submit("array", "exit 0", count=3)
    for name, options in REFUSED.items():
        recorder.submit(name, **options)
    recorder.submit("too_many_elements", count=2000)
    recorder.run("no_script", f"name=x/1; directory=/; set -- /nosuch; {SLURM.launch(LaunchOptions()).lines[2]}")
    recorder.submit("ends_with_another_status", before="export SLURM_EXIT_ERROR=77; ", partition="nosuch")
    recorder.submit("array_of_the_account", "exit 0", before="export SBATCH_ARRAY_INX=0-1; ")
    recorder.submit("partition_of_the_account", before="export SBATCH_PARTITION=nosuch; ")
    recorder.submit("qos_of_the_account", before="export SBATCH_QOS=nosuch; ")
    recorder.cancel_all()
    if recorder.cluster.accounting:
        for name, options in (("association", {"account": "limited"}), ("qos_limit", {"qos": "small"})):
            for _ in range(2):
                recorder.submit(None, hold=True, **options)
            recorder.submit(f"{name}_full", **options)
            recorder.submit(f"{name}_full_array", count=3, **options)
            recorder.cancel_all()
            recorder.submit(f"{name}_array", count=3, **options)
        recorder.cluster.slurm("sacctmgr", "--immediate", "modify", "qos", "small", "set", "GrpSubmitJobs=0")
        recorder.submit("group_limit", qos="small")
        recorder.cluster.slurm("sacctmgr", "--immediate", "modify", "qos", "small", "set", "GrpSubmitJobs=3")
    plugin = "/etc/slurm/{}.lua"
    refuse = 'slurm.log_user("please set a project"); return slurm.ERROR'
    recorder.root(
        f"echo 'function slurm_job_submit(desc, parts, uid) {refuse} end"
        " function slurm_job_modify(desc, record, parts, uid) return slurm.SUCCESS end'"
        f" >{plugin.format('job_submit')}"
    )
    with recorder.configured("JobSubmitPlugins=lua"):
        recorder.submit("plugin")
    recorder.root(
        "echo 'function slurm_cli_setup_defaults(options, early) return slurm.SUCCESS end"
        ' function slurm_cli_pre_submit(options, offset) print("welcome") print("4711 jobs") return slurm.SUCCESS end'
        f" function slurm_cli_post_submit(offset, job, step) return slurm.SUCCESS end' >{plugin.format('cli_filter')}"
    )
    with recorder.configured("CliFilterPlugins=lua"):
        recorder.submit("lines_before", "exit 0")
    recorder.cancel_all()
    held = recorder.submit(None, hold=True)
    with recorder.configured("MaxJobCount=1"):
        recorder.run("too_many_jobs", f"name=x/1; directory=/; timeout 5 sbatch --parsable {WORK}")
    recorder.cluster.slurm("scancel", held)


def record_jobs(recorder: Recorder) -> None:
    cluster = recorder.cluster
    recorder.file = "listing"
    jobs = {
        "done": recorder.submit(None, "exit 0", key="done"),
        "failed": recorder.submit(None, "exit 3", key="failed"),
        "killed": recorder.submit(None, "kill -9 $$", key="killed"),
        "timeout": recorder.submit(None, "trap : USR1; " + FOREVER, key="timeout", time=1),
        "cancelled": recorder.submit(None, key="cancelled"),
        "requeued": recorder.submit(None, key="requeued", requeue=True),
        "special": recorder.submit(None, key="special", requeue=True),
        "held_again": recorder.submit(None, key="held_again", requeue=True),
    }
    recorder.submit(None, key="refused", mem="900G")
    running = ("timeout", "cancelled", "requeued", "special", "held_again")
    recorder.await_states({jobs[name]: "RUNNING" for name in running})
    cluster.slurm("scancel", jobs["cancelled"])
    # a second run at the same second would not be another record of the accounting
    time.sleep(2)
    cluster.slurm("scontrol", "requeue", jobs["requeued"])
    cluster.slurm("scontrol", "requeuehold", "State=SpecialExit", jobs["special"])
    cluster.slurm("scontrol", "requeuehold", jobs["held_again"])
    recorder.await_states({jobs["cancelled"]: "CANCELLED"})
    jobs["preempted"] = recorder.submit(None, key="preempted", cpus_per_task=16, nodelist="c2")
    recorder.await_states({jobs["preempted"]: "RUNNING"})
    urgent = recorder.submit(None, partition="urgent", cpus_per_task=16, nodelist="c2")
    recorder.await_states({jobs["preempted"]: "PREEMPTED", urgent: "RUNNING"})
    cluster.slurm("scancel", urgent)
    jobs |= {
        "runs": recorder.submit(None, key=LONG_NAME),
        "hidden": recorder.submit(None, key="hidden", partition="hidden"),
        "suspended": recorder.submit(None, key="suspended"),
        "completing": recorder.submit(None, f'trap "" TERM; {FOREVER}', key="completing"),
        "held": recorder.submit(None, key="held", hold=True),
        "gone": recorder.submit(None, key="gone", hold=True),
        "later": recorder.submit(None, key="later", begin="2030-01-01"),
        "never": recorder.submit(None, key="never", dependency=f"afterok:{jobs['failed']}"),
        "too_long": recorder.submit(None, key="too_long", partition="short", time=10),
        "off": recorder.submit(None, key="off", partition="off"),
        "others": recorder.submit(None, key="others", partition="others"),
        "nodes": recorder.submit(None, key="nodes", nodes="1", nodelist="c1,c2"),
        "root_only": recorder.submit(None, key="root_only", partition="root_only"),
        "array": recorder.submit(None, f"[ $SLURM_ARRAY_TASK_ID -gt 1 ] || exit 0; {FOREVER}", key="array", count=8,
                                 cpus_per_task=10),
        "resources": recorder.submit(None, key="resources", cpus_per_task=16),
    }  # fmt: skip
    jobs["after"] = recorder.submit(None, key="after", dependency=f"afterok:{jobs['runs']}")
    recorder.await_states({jobs[name]: "RUNNING" for name in ("runs", "suspended", "completing", "hidden")})
    recorder.await_states({f"{jobs['array']}_{index}": "RUNNING" for index in (2, 3)})
    cluster.slurm("scontrol", "suspend", jobs["suspended"])
    cluster.slurm("scancel", jobs["gone"])
    cluster.slurm("scancel", f"{jobs['array']}_[5-6]")
    cluster.slurm("scancel", f"{jobs['array']}_2")
    recorder.await_states({f"{jobs['array']}_4": "RUNNING"})
    time.sleep(2)
    cluster.slurm("scancel", jobs["completing"])
    recorder.await_states({jobs["completing"]: "COMPLETING"})
    recorder.run("jobs", SLURM.listing, **jobs)
    record_queries(recorder, jobs)
    cluster.slurm("scancel", "--state=PENDING", jobs["array"])
    recorder.await_states({jobs["timeout"]: "TIMEOUT"}, 150)
    recorder.file = "listing"
    recorder.run("timeout", SLURM.listing, **jobs)
    recorder.file = "query"
    recorder.run("cancelled_elements", SLURM.query, ids=elements(jobs["array"]), array=jobs["array"])
    recorder.file = "history"
    recorder.run("jobs", SLURM.history, ids=f"{' '.join(jobs.values())} 999999", **jobs)
    recorder.run("elements", SLURM.history, ids=f"{jobs['array']}_7 {jobs['array']}_0", array=jobs["array"])
    recorder.run("unknown", SLURM.history, ids="999999 999998_3")
    recorder.run("bad_id", SLURM.history, ids="nosuch")
    recorder.cancel_all()
    array = recorder.submit(None, key="whole", count=9, cpus_per_task=10)
    recorder.await_states({f"{array}_0": "RUNNING"})
    recorder.cancel_all()
    time.sleep(1)
    recorder.file = "query"
    recorder.run("cancelled_array", SLURM.query, ids=elements(array), array=array)
    recorder.file = "history"
    recorder.run("cancelled_array", SLURM.history, ids=elements(array), array=array)
    record_failures(recorder)
    record_purge(recorder)


def elements(array: str) -> str:
    return " ".join(f"{array}_{index}" for index in range(9))


def record_queries(recorder: Recorder, jobs: dict[str, str]) -> None:
    recorder.file = "query"
    for name in ("runs", "done", "held", "hidden"):
        recorder.run(name, SLURM.query, ids=jobs[name], **{name: jobs[name]})
    recorder.run("unknown", SLURM.query, ids="999999")
    recorder.run("unknown_element", SLURM.query, ids="999999_3")
    recorder.run("several", SLURM.query, ids=f"{jobs['runs']} 999999 {jobs['held']} 999998_1", **jobs)
    recorder.run("elements", SLURM.query, ids=elements(jobs["array"]), array=jobs["array"])
    recorder.run("array", SLURM.query, ids=jobs["array"], array=jobs["array"])
    recorder.run("bad_id", SLURM.query, ids="nosuch")
    squeue = SLURM.listing.removesuffix(" --me")
    for name, ids in (("known", f"{jobs['runs']},999999"), ("unknown", "999998,999999"), ("one", "999999"),
                      ("element", f"{jobs['array']}_77"), ("single", f"{jobs['runs']}_1")):  # fmt: skip
        recorder.run(f"squeue_{name}", f'{squeue} --jobs="{ids}"', runs=jobs["runs"], array=jobs["array"])
        recorder.run(
            f"scontrol_{name}", f'scontrol show job "{ids}" | head -n 1', runs=jobs["runs"], array=jobs["array"]
        )
    recorder.file = "cancel"
    for name, job in (("unknown", "999999"), ("unknown_element", "999999_1"), ("done", jobs["done"]),
                      ("held", jobs["held"]), ("ended_element", f"{jobs['array']}_0"),
                      ("no_element", f"{jobs['array']}_77"), ("waiting_element", f"{jobs['array']}_7"),
                      ("running", jobs["hidden"]), ("completing", jobs["completing"])):  # fmt: skip
        # scancel repeats the signal for minutes if the job waits
        recorder.run(f"signal_{name}", SLURM.signal.replace("command", "timeout 12"), id=job)
        recorder.run(f"cancel_{name}", SLURM.cancel, id=job)
    recorder.run("filtered", f"export SCANCEL_STATE=PENDING; {SLURM.cancel}", id=jobs["runs"])


def record_failures(recorder: Recorder) -> None:
    """A node that fails, and one that cannot start jobs."""
    nodes = recorder.cluster.nodes
    jobs = {"node": recorder.submit(None, key="node", nodelist="c2")}
    recorder.await_states({jobs["node"]: "RUNNING"})
    nodes["c2"].kill()
    recorder.await_states({jobs["node"]: "NODE_FAIL"}, 90)
    recorder.file = "listing"
    recorder.run("node_fail", SLURM.listing, **jobs)
    recorder.file = "history"
    # of another cluster the accounting is complete after some seconds
    time.sleep(2)
    recorder.run("node_fail", SLURM.history, ids=jobs["node"], **jobs)
    nodes["c2"].start()
    nodes["c2"].exec_run(["sh", "-c", "echo Prolog=/bin/false >>/etc/slurm/slurm.conf"])
    nodes["c2"].restart(timeout=0)
    recorder.cluster.wait_for_nodes(seconds=90)
    jobs = {
        "launch": recorder.submit(None, key="launch", nodelist="c2"),
        "again": recorder.submit(None, key="again", nodelist="c2", requeue=True),
    }
    recorder.file = "listing"
    time.sleep(10)
    recorder.run("launch_failed", SLURM.listing, **jobs)
    nodes["c2"].exec_run(["sed", "-i", "/^Prolog/d", "/etc/slurm/slurm.conf"])
    nodes["c2"].restart(timeout=0)
    recorder.cancel_all()
    time.sleep(3)
    recorder.cluster.slurm("scontrol", "update", "nodename=c2", "state=resume")
    recorder.cluster.wait_for_nodes(seconds=90)


def record_purge(recorder: Recorder) -> None:
    """slurmctld forgets jobs and elements that ended some time ago."""
    jobs = {
        "done": recorder.submit(None, "exit 0", key="done"),
        "array": recorder.submit(None, f"[ $SLURM_ARRAY_TASK_ID -gt 1 ] || exit 0; {FOREVER}", key="array", count=4),
        "last": recorder.submit(None, f"[ $SLURM_ARRAY_TASK_ID -eq 0 ] || exit 0; {FOREVER}", key="last", count=3),
    }
    recorder.await_states({f"{jobs['array']}_2": "RUNNING", f"{jobs['last']}_2": "COMPLETED"})
    with recorder.configured("MinJobAge=2"):
        processes.wait_until(lambda: jobs["done"] not in recorder.states(), "the end of MinJobAge", 150)
        recorder.file = "query"
        ids = [jobs["done"], *(f"{jobs[name]}_{index}" for name in ("array", "last") for index in range(4))]
        recorder.run("purged", SLURM.query, ids=" ".join(ids), **jobs)
        recorder.file = "history"
        recorder.run("purged", SLURM.history, ids=" ".join(ids), **jobs)
        recorder.file = "cancel"
        recorder.run("cancel_purged", SLURM.cancel, id=jobs["done"])
    recorder.cancel_all()


def record_outages(recorder: Recorder) -> None:
    jobs = {"runs": recorder.submit(None, key="runs", nodelist="c1")}
    recorder.await_states({jobs["runs"]: "RUNNING"})
    outages = {"slurmctld": "slurmctld", "munged": "su -s /bin/sh munge -c munged"}
    if recorder.cluster.accounting:
        outages |= {"slurmdbd": "slurmdbd"}
    for program, start in outages.items():
        with recorder.without(program, start):
            for recorder.file, line in (("listing", SLURM.listing), ("query", SLURM.query), ("history", SLURM.history)):
                recorder.run(f"no_{program}", line, ids=f"{jobs['runs']} 999999", **jobs)
            recorder.file = "cancel"
            recorder.run(f"signal_no_{program}", SLURM.signal, id="999999")
            recorder.run(f"cancel_no_{program}", SLURM.cancel, id="999999")
            recorder.file = "submit"
            recorder.submit(f"no_{program}", "exit 0")
        recorder.settle()
    recorder.cancel_all()


def record_clusters(recorder: Recorder) -> None:
    """Another cluster, whose slurmctld and node are on the login node, alone and in a federation with the first."""
    recorder.root(r"""
sed -e 's/^ClusterName=.*/ClusterName=other/; s/slurmctld/other/; s/slurmd\b/otherd/' \
  -e 's/^NodeName=.*/NodeName=login CPUs=4 RealMemory=2000/' \
  -e 's/^SlurmctldHost=.*/SlurmctldHost=login/' /etc/slurm/slurm.conf >/etc/slurm/other.conf
printf '%s\n' SlurmctldPort=6827 SlurmdPort=6828 >>/etc/slurm/other.conf
mkdir -p /var/spool/other /var/spool/otherd
sacctmgr --immediate add account lab cluster=other
sacctmgr --immediate add user job account=lab cluster=other
slurmctld -f /etc/slurm/other.conf
slurmd -f /etc/slurm/other.conf -N login
until sinfo -M other --noheader | grep idle; do sleep 0.2; done
""")
    recorder.file = "submit"
    recorder.submit("elsewhere", before="export SBATCH_CLUSTERS=other; ")
    recorder.file = "cancel"
    recorder.run("elsewhere", "squeue -M other --noheader --states=all --format='%i %T %j'")
    recorder.root("sacctmgr --immediate add federation both clusters=test,other")
    processes.wait_until(lambda: "other" in recorder.cluster.slurm("scontrol", "show", "federation"), "federation")
    time.sleep(3)
    recorder.root("scontrol update nodename=c1,c2 state=drain reason=test")
    recorder.file = "submit"
    jobs = {"federated": recorder.submit("federated", "sleep 6")}
    recorder.file = "listing"
    processes.wait_until(lambda: recorder.states().get(jobs["federated"]) == "REVOKED", "the other cluster", 30)
    recorder.run("federated", SLURM.listing, **jobs)
    recorder.run("federated_there", f"export SLURM_CLUSTERS=other; {SLURM.listing}", **jobs)
    recorder.file = "query"
    recorder.run("federated", SLURM.query, ids=jobs["federated"], **jobs)
    recorder.file = "history"
    recorder.run("federated", SLURM.history, ids=jobs["federated"], **jobs)
    time.sleep(10)
    recorder.file = "listing"
    recorder.run("federated_ended", SLURM.listing, **jobs)


def record(directory: Path, *, accounting: bool) -> None:
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root) / "slurm", docker_engine.connect(), accounting=accounting)
        cluster.start()
        recorder = Recorder(cluster)
        try:
            cluster.run("sh", "-c", f"mkdir 'a | b'; cat >{WORK} && chmod 755 {WORK}", input='#!/bin/sh\neval "$1"\n')
            with recorder.configured(PARTITIONS):
                record_submissions(recorder)
                record_jobs(recorder)
                record_outages(recorder)
                if accounting:
                    record_clusters(recorder)
        except BaseException:
            print(cluster.diagnostics(), file=sys.stderr)
            raise
        finally:
            version = ".".join(cluster.slurm("sinfo", "--version").split()[-1].split(".")[:2])
            cluster.stop()
            for name, text in recorder.texts.items():
                path = directory / version / f"{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for accounting in (False, True):
        record(Path(sys.argv[1]), accounting=accounting)
