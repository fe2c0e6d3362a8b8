"""Records what Grid Engine prints, for tests without one: `python -m support.sge_recorder DIRECTORY`, in `tests`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.sge import SGE

from support import docker_engine, processes, recordings
from support.sge_cluster import Cluster

WORK = "/home/job/work.sh"
FOREVER = "while :; do sleep 0.2; done"
# no node has this
NEVER = {"l": "mem_free=1000000G"}


class Recorder:
    """Runs the commands of the launcher on a cluster, and writes what they print."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory
        self.file = "submit"
        self.texts: dict[str, str] = {}

    def run(self, name: str | None, line: str, **variables: object) -> tuple[int, str]:
        """Run a line of the launcher in a session of the account; record it with the ids in `variables`."""
        values = "".join(f"{key}='{value}'; " for key, value in variables.items())
        status, stdout, stderr = self.cluster._run(("sh", "-c", values + line), "job", None)
        if name is not None:
            ids = {key: str(value) for key, value in variables.items() if key not in ("ids", "id")}
            text = recordings.section(name, ids, status, stdout.decode(), stderr.decode())
            self.texts[self.file] = self.texts.get(self.file, "") + text
        return status, stdout.decode()

    def submit(self, name: str | None, command: str = FOREVER, *, count: int = 1, **options: Any) -> str:
        """Submit, with the variables of the host; return the id."""
        key = options.pop("key", name or "job")
        base = options.pop("base", "/home/job")
        limit = options.pop("time_limit", 0)
        line = SGE.launch(LaunchOptions(options, time_limit=limit, batch=count)).lines[2]
        last, suffix = (count - 1, f"+{count - 1}.1700000000") if count > 1 else ("", "")
        values = {"key": key, "attempt": 1, "suffix": suffix, "tag": 4711, "count": count, "last": last, "base": base}
        script = "".join(f"{name}='{value}'; " for name, value in values.items())
        _, stdout = self.run(
            None if name is None else name.replace(" ", "_"), f"{script}set -- {WORK} '{command}'; {line}"
        )
        return stdout.split(".")[0].strip()

    def sge(self, *argv: str) -> str:
        return self.cluster.sge(*argv)

    def await_state(self, wanted: dict[str, str]) -> None:
        """Wait until the jobs have these states; "" is unknown to qstat. Without any, wait for the end of all."""

        def reached() -> bool:
            lines = [line.split() for line in self.sge("qstat", "-u", "job").splitlines()[2:]]
            states = {words[0]: words[4] for words in lines}
            return all(states.get(job, "") == state for job, state in wanted.items()) and bool(wanted or not states)

        processes.wait_until(reached, f"jobs to be {wanted}", 40)

    def setting(self, name: str, value: str) -> None:
        """Change the global configuration."""
        script = f"cd /tmp && qconf -sconf | sed 's|^{name} .*|{name} {value}|' >global && qconf -Mconf global"
        self.cluster.run("sh", "-c", script, user="root")

    def write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, text in self.texts.items():
            (self.directory / f"{name}.txt").write_text(text, encoding="utf-8")


def record_submissions(recorder: Recorder) -> None:
    recorder.submit("single", "exit 0")
    recorder.submit("array", "exit 0", count=3)
    refused: dict[str, dict[str, Any]] = {
        "unknown_queue": {"q": "nosuch.q"},
        "unknown_pe": {"pe": ("nosuch", 2)},
        "no_slots": {"pe": ("smp", 0)},
        "bad_slots": {"pe": "smp many"},
        "unknown_resource": {"l": {"nosuch": 1}},
        "bad_time": {"l": {"h_rt": "soon"}},
        "bad_memory": {"l": "h_vmem=5X"},
        "no_value": {"l": "h_rt="},
        "slots_as_resource": {"l": {"slots": 2}},
        "unknown_host": {"l": {"hostname": "nosuch"}},
        "unknown_project": {"P": "nosuch"},
        "unknown_reservation": {"ar": 77},
        "high_priority": {"p": 100},
        "bad_priority": {"p": 5000},
        "deadline": {"dl": "203001010000"},
        "bad_date": {"a": 9},
        "bad_account": {"A": "a/b"},
        "unknown_option": {"bogus": "x"},
        "unsuitable": {"w": "e", **NEVER},
        "no_access_to_queue": {"w": "e", "q": "admin.q"},
        "bad_concurrency": {"tc": "x"},
        "bad_jobshare": {"js": "x"},
        "bad_binding": {"binding": "nosuch"},
        "master_queue": {"masterq": "all.q"},
    }
    for name, options in refused.items():
        recorder.submit(name, **options)
    recorder.submit("bad_name", key="a/b")
    recorder.submit("too_many_tasks", count=2000)
    recorder.run("no_script", f"set -- /home/job/nosuch; {SGE.launch(LaunchOptions()).lines[2]}")
    for name, value in (("user_lists", "admins"), ("enforce_project", "true"), ("max_u_jobs", "1"), ("max_jobs", "1")):
        previous = next(
            line.split()[1] for line in recorder.sge("qconf", "-sconf").splitlines() if line.startswith(f"{name} ")
        )
        job = recorder.submit(None) if name.startswith("max") else ""
        recorder.setting(name, value)
        recorder.submit(name)
        recorder.setting(name, previous)
        recorder.sge("qdel", job or "0")
    recorder.sge("qconf", "-dh", "login")
    recorder.sge("qconf", "-ds", "login")
    recorder.submit("no_submit_host")
    recorder.cluster.run("sh", "-c", "su -s /bin/sh sgeadmin -c 'qconf -as login'", user="root", check=False)
    recorder.run("no_root", f"SGE_ROOT=/nosuch; export SGE_ROOT; set -- {WORK}; {SGE.launch(LaunchOptions()).lines[2]}")


def record_jobs(recorder: Recorder) -> None:
    recorder.file = "listing"
    recorder.run("empty", SGE.listing)
    jobs = {
        "waits": recorder.submit(None, key="waits", **NEVER),
        "held": recorder.submit(None, key="held", h=True),
        "runs": recorder.submit(None, key="k" * 150, pe=("smp", 2)),
        "suspended": recorder.submit(None, key="suspended", notify=False),
        "deleted": recorder.submit(None, "trap '' USR2; sleep 30", key="deleted", q="long.q"),
        "error": recorder.submit(None, key="error", base="/nosuch"),
        "array": recorder.submit(None, "[ $SGE_TASK_ID -gt 2 ] || exit 0; " + FOREVER, key="array", count=6, tc=2),
        "again": recorder.submit(None, key="again", r=True),
        "later": recorder.submit(None, key="later", a="203001010000"),
    }
    jobs["after"] = recorder.submit(None, key="after", hold_jid=jobs["runs"])
    jobs["errors"] = recorder.submit(None, key="errors", base="/nosuch", count=2)
    recorder.await_state({jobs["runs"]: "r", jobs["again"]: "r", jobs["suspended"]: "r", jobs["deleted"]: "r"})
    recorder.sge("qmod", "-sj", jobs["suspended"])
    recorder.sge("qmod", "-rj", jobs["again"])
    states = {
        "waits": "qw",
        "held": "hqw",
        "runs": "r",
        "suspended": "s",
        "error": "Eqw",
        "again": "Rr",
        "after": "hqw",
    }
    recorder.await_state({jobs[name]: state for name, state in states.items()} | {jobs["errors"]: "Eqw"})
    cancelled = recorder.file, recorder.texts
    recorder.file = "cancel"
    recorder.run("running", SGE.cancel, id=jobs["deleted"])
    recorder.run("again", SGE.cancel, id=jobs["deleted"])
    recorder.file = cancelled[0]
    waited = f"qstat -u job -s r | grep -q ' {jobs['array']} .* 4 *$'"
    processes.wait_until(lambda: recorder.run(None, waited)[0] == 0, "task 4 to run", 40)
    recorder.run("jobs", SGE.listing, **jobs)
    recorder.run("other_options", f"echo '-f -ext -r -urg -g t' >.sge_qstat; {SGE.listing}; rm .sge_qstat", **jobs)
    recorder.run("details_instead", f"echo '-j {jobs['runs']}' >.sge_qstat; {SGE.listing}; rm .sge_qstat", **jobs)
    recorder.run("bad_option", f"echo '-bogus' >.sge_qstat; {SGE.listing}; s=$?; rm .sge_qstat; exit $s", **jobs)
    recorder.file = "query"
    recorder.await_state({jobs["deleted"]: ""})
    for name in ("waits", "deleted", "error"):
        recorder.run(name, SGE.query, ids=jobs[name], **jobs)
    recorder.run("unknown", SGE.query, ids="999999")
    recorder.run("several", SGE.query, ids=f"{jobs['waits']} 999998 {jobs['runs']} 999999", **jobs)
    elements = " ".join(f"{jobs['array']}.{task}" for task in range(1, 8))
    recorder.run("elements", SGE.query, ids=f"{elements} {jobs['errors']}.2 999999.1", **jobs)
    hidden = f"echo '-s r -q long.q' >.sge_qstat; {SGE.query}; s=$?; rm .sge_qstat; exit $s"
    recorder.run("filtered", hidden, ids=f"{jobs['runs']} {elements} 999999", **jobs)
    recorder.file = "cancel"
    for name in ("waits", "held", "error"):
        recorder.run(name, SGE.cancel, id=jobs[name])
    recorder.run("unknown", SGE.cancel, id="999999")
    for task, name in ((6, "waiting_element"), (4, "running_element"), (6, "ended_element")):
        recorder.run(name, SGE.cancel, id=f"{jobs['array']}.{task}")
    recorder.run("unknown_element", SGE.cancel, id="999999.1")
    recorder.sge("qdel", "-u", "job")


def record_history(recorder: Recorder) -> None:
    recorder.file = "history"
    survives = "trap : USR2; sleep 30 & wait; sleep 1; exit 143"
    jobs = {
        "done": recorder.submit(None, "exit 0", key="done"),
        "failed": recorder.submit(None, "exit 3", key="failed"),
        "exit99": recorder.submit(None, "exit 99", key="exit99"),
        "exit100": recorder.submit(None, "exit 100", key="exit100"),
        "signal": recorder.submit(None, "kill -9 $$", key="signal"),
        "limit": recorder.submit(None, key="limit", l="h_rt=0:0:2", notify=False),
        "warned": recorder.submit(None, survives, key="warned", l={"h_rt": 2}),
        "deleted": recorder.submit(None, key="deleted"),
        "ignored": recorder.submit(None, "trap : USR2; sleep 30; " + FOREVER, key="ignored"),
        "again": recorder.submit(None, "[ $RESTARTED = 1 ] || " + FOREVER, key="again", r="y"),
        "array": recorder.submit(None, "exit $SGE_TASK_ID", key="array", count=2),
        "waits": recorder.submit(None, key="waits", **NEVER),
    }
    recorder.await_state({jobs["deleted"]: "r", jobs["ignored"]: "r", jobs["again"]: "r"})
    recorder.sge("qdel", jobs["deleted"], jobs["ignored"], jobs["waits"])
    recorder.sge("qmod", "-rj", jobs["again"])
    recorder.await_state({jobs[name]: "" for name in jobs if name not in ("exit99", "exit100")})
    # the accounting is written once a second
    time.sleep(3)
    recorder.sge("qdel", jobs["exit99"])
    for name, job in jobs.items():
        recorder.run(name, SGE.history, ids=job, **{name: job})
    several = f"{jobs['done']} 999999 {jobs['array']}.1 {jobs['array']}.2 {jobs['waits']}"
    recorder.run("several", SGE.history, ids=several, **jobs)
    recorder.run("unknown", SGE.history, ids="999999")
    move = "cd /var/lib/gridengine/default/common && mv {} {}"
    recorder.cluster.run("sh", "-c", move.format("accounting", "aside"), user="root")
    recorder.run("no_accounting", SGE.history, ids=jobs["done"])
    recorder.cluster.run("sh", "-c", move.format("aside", "accounting"), user="root")
    # the last records, because nodes may take a minute to connect again
    recorder.cluster.run("pkill", "-x", "sge_qmaster", user="root")
    processes.wait_until(lambda: recorder.run(None, SGE.listing)[0] != 0, "the end of qmaster", 30)
    recorder.file = "submit"
    recorder.submit("no_qmaster")
    for recorder.file, line in (("listing", SGE.listing), ("query", SGE.query), ("cancel", SGE.cancel)):
        recorder.run("no_qmaster", line, ids=f"{jobs['done']} 999999", id=jobs["done"])


def main(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as root:
        cluster = Cluster(Path(root) / "sge", docker_engine.connect())
        cluster.start()
        try:
            cluster.run("sh", "-c", f"cat >{WORK} && chmod 755 {WORK}", input='#!/bin/sh\neval "$1"\n')
            recorder = Recorder(cluster, directory)
            record_submissions(recorder)
            recorder.sge("qdel", "-u", "job")
            recorder.await_state({})
            record_jobs(recorder)
            record_history(recorder)
            recorder.write()
        except BaseException:
            print(cluster.diagnostics(), file=sys.stderr)
            raise
        finally:
            cluster.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
