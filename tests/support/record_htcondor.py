"""Records what HTCondor prints: `python -m support.record_htcondor DIRECTORY`, in the directory `tests`.

Each file has the exit status, stdout and stderr of one of the launcher's own commands.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from luigi_sshjob.jobs.launchers.base import LaunchOptions
from luigi_sshjob.jobs.launchers.htcondor import HTCONDOR
from luigi_sshjob.jobs.launchers.scheduler import Answer
from luigi_sshjob.remote.quoting import quote

from support import docker_engine, processes
from support.htcondor_pool import NODE, Pool

BASE = "/home/job/base"
# a job runs the file `run` of its directory; it begins with what the supervisor does
ENTRY = 'eval "echo $3 $4 $5" >>/home/job/base/starts; shift 5; cd "$1" && exec /bin/sh ./run'
SLEEP = "trap 'exit 143' TERM; sleep 600 & wait"


class Recorder:
    def __init__(self, pool: Pool, directory: Path) -> None:
        self.pool = pool
        self.directory = directory

    def sh(self, line: str, **variables: str) -> Answer:
        """Run a line as the host does, for the account."""
        words = "".join(f"{name}={quote(value)}; " for name, value in variables.items())
        status, stdout, stderr = self.pool._run(
            ("env", "LC_ALL=C", "timeout", "30", "sh", "-c", words + line), "job", None
        )
        return Answer(status, stdout.decode(), stderr.decode())

    def record(self, name: str, answer: Answer) -> Answer:
        text = f"status {answer.status}\n-- stdout\n{answer.stdout}-- stderr\n{answer.stderr}"
        (self.directory / f"{name}.txt").write_text(text)
        print(f"{name}: {answer.status} {(answer.stdout or answer.stderr)[:70]!r}", flush=True)
        return answer

    def submit(
        self,
        name: str,
        script: str = "exit 0",
        options: Mapping[str, object] | None = None,
        *,
        count: int = 1,
        base: str = BASE,
        record: bool = False,
    ) -> str:
        """Submit jobs as `name`, and return the id."""
        directories = [f"{BASE}/{name}-{number}" for number in range(count)]
        self.sh(f"mkdir -p {' '.join(map(quote, directories))}")
        for directory in directories:
            self.pool.run("sh", "-c", f"cat >{quote(directory)}/run", input=script)
        line = HTCONDOR.launch(LaunchOptions({"request_memory": "16M", **(options or {})}, kill_grace=2)).lines[2]
        words = ["/home/job/entry", "library", "022", HTCONDOR.job_id, HTCONDOR.index, HTCONDOR.restarts, *directories]
        suffix = f"+{count - 1}.123" if count > 1 else ""
        arguments = f"set -- {' '.join(map(quote, words))}; {line}"
        answer = self.sh(arguments, name=f"{name}/1{suffix}", tag="4711", base=base)
        if record:
            self.record(f"submit_{name}".replace("\n", ""), answer)
        return HTCONDOR.submitted_id(answer) or ""

    def listing(self, name: str) -> None:
        self.record(f"listing_{name}", self.sh(HTCONDOR.listing))

    def query(self, name: str, *ids: str) -> None:
        self.record(f"query_{name}", self.sh(HTCONDOR.query, ids=" ".join(ids)))

    def history(self, name: str, *ids: str) -> None:
        self.record(f"history_{name}", self.sh(HTCONDOR.history, ids=" ".join(ids)))

    def cancel(self, name: str, one: str) -> None:
        self.record(f"cancel_{name}", self.sh(HTCONDOR.cancel, id=one))

    def until(self, one: str, *states: str) -> None:
        """Wait for a state of a job; without one, until it has left the queue."""

        def reached() -> bool:
            known = HTCONDOR.parse_query(self.sh(HTCONDOR.query, ids=one), [one])[one]
            return (known.state if known else "") in (states or ("",))

        processes.wait_until(reached, f"job {one} to be {states}", 120)

    def clear(self) -> None:
        self.pool.condor("condor_rm", "-all")
        processes.wait_until(lambda: not self.sh("condor_q -af ClusterId").stdout, "an empty queue", 60)


def number(one: str) -> str:
    return one.rpartition("#")[2]


def ends(r: Recorder) -> None:
    """Jobs that end, each way."""
    r.listing("empty")
    zero = r.submit("single", "exit 0", record=True)
    three = r.submit("exit3", "exit 3")
    killed = r.submit("killed", "kill -9 $$")
    array = r.submit("array", "sleep 4", count=3, record=True)
    r.submit("unknown_command", SLEEP, {"requst_cpus": 4}, record=True)
    for one in (zero, three, killed):
        r.until(one)
    r.listing("running_array")
    r.query("mixed", HTCONDOR.element(array, 1), "login#99999.0")
    r.query("ended", zero)
    r.query("unknown", "login#99999.0")
    r.query("other_schedd", "elsewhere#99999.0")
    r.history("exit0", zero)
    r.history("exit3", three)
    r.history("signal", killed)
    r.history("mixed", zero, three, "login#99999.0")
    r.history("unknown", "login#99999.0")
    r.clear()


def states(r: Recorder) -> None:
    """Jobs that wait, run and are removed."""
    idle = r.submit("idle", SLEEP, {"requirements": 'Machine == "nowhere"'})
    other = r.submit("other", SLEEP, {"requirements": 'FileSystemDomain == "elsewhere"'})
    held = r.submit("held", SLEEP, {"hold": True})
    running = r.submit("running", SLEEP)
    nowhere = "/opt/submit machine only"
    r.pool.run("mkdir", "-p", nowhere, user="root")
    blind = r.submit("blind", SLEEP, base=nowhere)
    r.until(running, "Running")
    r.until(blind, "Held")
    time.sleep(6)
    r.listing("states")
    r.query("running", running)
    r.query("held_directory", blind)
    r.query("held_user", held)
    r.query("unmatched", other)
    r.sh(f"condor_suspend {number(running)}")
    r.until(running, "Suspended")
    r.query("suspended", running)
    r.sh(f"condor_continue {number(running)}")
    slow = r.submit("slow", "trap '' TERM; sleep 600 & wait; wait")
    r.until(slow, "Running")
    r.cancel("running", slow)
    r.query("removed", slow)
    r.cancel("again", slow)
    r.cancel("idle", idle)
    r.cancel("other_schedd", running.replace("login", "elsewhere"))
    r.cancel("unknown", "login#99999.0")
    r.cancel("array_unknown", "login#99999")
    r.until(slow)
    r.history("removed_running", slow)
    r.history("removed_idle", idle)
    r.sh(f"condor_hold -reason 'wait a moment' {number(running)}")
    r.until(running, "Held")
    r.query("held_reason", running)
    r.sh(f"condor_rm {number(running)} -reason 'not needed'")
    r.until(running)
    r.history("removed_reason", running)
    r.clear()


def evictions(r: Recorder) -> None:
    """Jobs that are evicted, with and without `requeue`, and a machine that is lost."""
    once = r.submit("once", SLEEP)
    twice = r.submit("twice", SLEEP, {"requeue": True})
    r.until(once, "Running")
    r.until(twice, "Running")
    # the default; here it would hide what happens in between
    r.pool.configure("PERIODIC_EXPR_INTERVAL = 60")
    time.sleep(4)
    r.sh(f"condor_vacate_job {number(once)} {number(twice)}")
    time.sleep(1)
    r.query("evicted", once, twice)
    r.until(twice, "Running")
    time.sleep(6)
    r.query("requeued", once, twice)
    r.pool.configure()
    r.until(once)
    r.history("evicted", once)
    print(r.pool.run("tail", "-n", "3", f"{BASE}/starts"), flush=True)
    r.sh(f"condor_hold {number(twice)}; condor_rm {number(twice)}")
    lost = r.submit("lost", SLEEP, {"job_lease_duration": 15})
    again = r.submit("again", "exit 0", {"requeue": True, "job_lease_duration": 15})
    r.until(again)
    again = r.submit("again", f"[ ! -e ../seen ] || exit 0; >../seen; {SLEEP}", {"requeue": True})
    r.until(again, "Running")
    r.sh(f"condor_vacate_job {number(again)}")
    r.until(again)
    r.history("requeued", again)
    r.until(lost, "Running")
    time.sleep(8)
    r.pool.nodes[NODE].kill()
    time.sleep(12)
    r.query("reconnecting", lost)
    r.pool.nodes[NODE].start()
    r.pool.wait_for_nodes()
    r.until(lost)
    r.history("lost_machine", lost)
    r.clear()


def refusals(r: Recorder) -> None:
    """Submissions without an id."""
    for name, options in (
        ("requirements", {"requirements": "((Memory >"}),
        ("policy", {"periodic_hold": "&"}),
        ("priority", {"priority": "high"}),
        ("accounting_group", {"accounting_group": "two words"}),
        ("attribute", {"+Project": '"open'}),
    ):
        r.submit(name, options=options, record=True)
    r.submit("no_base", base="/nowhere", record=True)
    r.submit("new\nline", record=True)
    r.record("submit_truncated", r.sh("printf 'executable = /bin/sh\\nqueue d from (\\na\\n' | condor_submit -terse -"))
    r.pool.configure("MAX_JOBS_PER_OWNER = 3", "MAX_JOBS_PER_SUBMISSION = 2")
    r.submit("per_submission", SLEEP, count=3, record=True)
    r.submit("first", SLEEP, count=2)
    r.submit("per_owner", SLEEP, count=2, record=True)
    r.listing("after_limit")
    r.pool.configure(
        "SUBMIT_REQUIREMENT_NAMES = Prio",
        "SUBMIT_REQUIREMENT_Prio = JobPrio < 100",
        'SUBMIT_REQUIREMENT_Prio_REASON = "priority must be below 100"',
        "SYSTEM_PERIODIC_REMOVE = JobPrio == 7",
        "SYSTEM_PERIODIC_HOLD = JobPrio == 8",
    )
    r.submit("site_requirement", options={"priority": 100}, record=True)
    removed = r.submit("site_remove", SLEEP, {"priority": 7})
    held = r.submit("site_hold", SLEEP, {"priority": 8})
    r.until(removed)
    r.until(held, "Held")
    r.history("removed_site", removed)
    r.query("held_site", held)
    r.pool.configure()
    r.clear()


def away(r: Recorder) -> None:
    """The schedd is stopped, dead, and not running."""
    running = r.submit("survivor", SLEEP)
    r.until(running, "Running")
    for name, signal in (("hanging", "STOP"), ("killed", "KILL")):
        if signal == "KILL":  # it would be started again at once
            r.pool.run("sh", "-c", "pkill -STOP -x condor_master", user="root")
        r.pool.run("sh", "-c", f"pkill -{signal} -x condor_schedd", user="root")
        started = time.monotonic()
        r.record(f"query_schedd_{name}", r.sh(HTCONDOR.query, ids=running))
        print(time.monotonic() - started, flush=True)
        r.submit(f"schedd_{name}", record=signal == "KILL")
        if signal == "KILL":
            r.cancel("schedd_killed", running)
        r.pool.run("sh", "-c", "pkill -CONT -x condor_master; pkill -CONT -x condor_schedd", user="root", check=False)
        r.pool.wait_for_nodes()
    r.until(running, "Running")
    r.pool.condor("condor_off", "-schedd", "-fast")
    processes.wait_until(lambda: not r.pool.run("pgrep", "-x", "condor_schedd", check=False), "the end of the schedd")
    r.listing("schedd_down")
    r.query("schedd_down", running)
    r.submit("schedd_down", record=True)
    r.cancel("schedd_down", running)
    r.history("schedd_down", running)
    r.pool.condor("condor_on", "-schedd")
    r.pool.wait_for_nodes()
    r.query("after_restart", running)
    r.clear()


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        pool = Pool(Path(root) / "pool", docker_engine.connect())
        pool.start()
        try:
            r = Recorder(pool, Path(sys.argv[1]))
            pool.run("sh", "-c", f"cat >entry; mkdir -p {BASE}", input=ENTRY)
            for part in (ends, states, evictions, refusals, away):
                if part.__name__ in (sys.argv[2:] or part.__name__):
                    part(r)
        finally:
            pool.stop()


if __name__ == "__main__":
    main()
