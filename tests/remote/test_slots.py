"""Slots of a host, in each shell."""

from __future__ import annotations

import re

import pytest

from luigi_sshjob.jobs.slots import Slots
from luigi_sshjob.remote import quoting

from support import processes


class Queue:
    """Jobs that write to a ledger when they start and end, and run until they are let go."""

    def __init__(self, far_side):
        self.far_side, self.host = far_side, far_side.host
        self.ledger = f"{far_side.base}/ledger"
        self.directories: dict[str, str] = {}

    def start(self, key: str, supply: str = "gpu:1", needed: tuple = (("gpu", 1),), **options) -> str:
        devices = "$CUDA_VISIBLE_DEVICES/$SSHJOB_SLOT_GPU"
        wait = f"while ! [ -e {self.far_side.base}/go-{key} ]; do sleep 0.1; done"
        command = f"echo start {key} {devices} >>{self.ledger}; {wait}; echo end {key} >>{self.ledger}"
        slots = Slots(needed, supply)
        self.directories[key] = self.far_side.submit(command, key=key, slots=slots, **options)
        self.far_side.start(self.directories[key])
        return self.directories[key]

    def let_go(self, *keys: str) -> None:
        self.host.run("touch", self.far_side.base, *(f"{self.far_side.base}/go-{key}" for key in keys))

    def lines(self) -> list[str]:
        return self.host.run("sh", "-c", f"cat {self.ledger} 2>/dev/null || true").splitlines()

    def await_line(self, beginning: str) -> None:
        processes.wait_until(lambda: any(line.startswith(beginning) for line in self.lines()), beginning)

    def status(self, key: str) -> str:
        return self.far_side.call((quoting.Word("job_status"), self.directories[key], "-"))

    def await_state(self, key: str, state: str) -> None:
        processes.wait_until(lambda: f"state 0 {state}\n" in self.status(key), f"{state}: {self.status(key)}")

    def files(self, kind: str) -> list[str]:
        return self.host.run("sh", "-c", f"cd {self.far_side.base}/slots/*/ && ls | grep {kind} || true").split()

    def await_tickets(self, count: int) -> None:
        processes.wait_until(lambda: len(self.files("ticket")) == count, f"{count} tickets: {self.files('.')}")

    def supervisor(self, key: str) -> int:
        identity = self.host.run("cat", f"{self.directories[key]}/identity")
        return int(re.search(r"^pid: (\d+)$", identity, re.MULTILINE)[1])

    def kill(self, *pids: int) -> None:
        self.host.run("kill", "-9", *map(str, pids))


@pytest.fixture
def queue(far_side):
    flock = far_side.host.run("sh", "-c", "command -v flock || true").strip()
    if not flock:
        pytest.skip("there is no flock on this host")
    if far_side.argv[0] == "env":
        # the busybox of Debian has no flock
        far_side.host.run("sh", "-c", f"[ -e {far_side.base}/bin/flock ] || ln -s {flock} {far_side.base}/bin/")
    made = Queue(far_side)
    yield made
    made.let_go(*made.directories)
    processes.wait_until(lambda: not far_side.running("supervise.sh"), "the end of all supervisors")


def test_jobs_have_the_slots_one_after_the_other_in_the_order_in_which_they_came(queue):
    """Also if one in the middle of the queue is cancelled, and the supervisor of another one is killed."""
    for key in "abcde":
        queue.start(key)
        if key == "a":
            queue.await_line("start a")
        else:
            queue.await_tickets("abcde".index(key))
    assert "state 0 queued\nwaits for gpu:1\n" in queue.status("b")
    queue.far_side.call((quoting.Word("job_cancel"), queue.directories["b"], "1", "a test"))
    queue.await_state("b", "ended")
    assert "outcome: cancelled" in queue.status("b")
    queue.kill(queue.supervisor("d"))
    queue.await_state("d", "lost")
    queue.let_go("a", "c", "e")
    for key in "ace":
        queue.await_state(key, "ended")
        assert re.search(r"^queue_time: \d+ s$", queue.status(key), re.MULTILINE)
    assert queue.lines() == [line for key in "ace" for line in (f"start {key} 0/0", f"end {key}")]
    assert not queue.far_side.running("flock")
    assert queue.files("grant") == []


def test_a_command_keeps_its_slots_if_its_supervisor_is_killed(queue):
    queue.start("a", time_limit=900)
    queue.await_line("start a")
    queue.start("b")
    queue.await_tickets(1)
    queue.kill(queue.supervisor("a"))
    queue.await_state("a", "unsupervised")
    assert "state 0 queued" in queue.status("b")
    # one process holds nothing: the one that keeps the time limit
    queue.kill(*queue.far_side.running(f"{queue.directories['a']}/command"))
    queue.await_line("start b")
    queue.let_go("b")
    queue.await_state("b", "ended")
    assert queue.lines() == ["start a 0/0", "start b 0/0", "end b"]
    assert not queue.far_side.running("flock")
    queue.kill(*queue.far_side.running("supervise.sh"), *queue.far_side.running("sleep 900"))


def test_a_job_that_needs_less_does_not_overtake_until_the_first_one_is_gone(queue):
    for key in "ab":
        queue.start(key, "gpu:3")
        queue.await_line(f"start {key}")
    # one is free
    for place, (key, count) in enumerate({"c": 2, "d": 1, "e": 1}.items(), 1):
        queue.start(key, "gpu:3", (("gpu", count),))
        queue.await_tickets(place)
    queue.kill(queue.supervisor("c"))
    queue.await_line("start d 2/2")
    assert not any(line.startswith("end") for line in queue.lines())
    queue.let_go("a", "b", "d", "e")
    for key in "abde":
        queue.await_state(key, "ended")


def test_concurrent_jobs_have_different_devices(queue):
    for key, needed in {"a": (("gpu", 2),), "b": (("cpu", 3), ("gpu", 1))}.items():
        queue.start(key, "gpu:4 cpu:8", needed)
        queue.await_line(f"start {key}")
    queue.start("c", "gpu:4 cpu:8", (("gpu", 2),))
    queue.await_tickets(1)
    queue.let_go("b")
    queue.await_line("start c")
    queue.let_go("a", "c")
    for key in "ac":
        queue.await_state(key, "ended")
    starts = [line for line in queue.lines() if line.startswith("start")]
    assert starts == ["start a 0,1/0,1", "start b 2/2", "start c 2,3/2,3"]


@pytest.mark.parametrize(
    ("supply", "needed", "reason"),
    [
        ("gpu:2", ("gpu", 3), r"it needs gpu:3, and \S+ has gpu:2 \(setting\)"),
        ("gpu:2", ("fpga", 1), r"it needs fpga:1, and \S+ has no fpga that was found or declared"),
        ("", ("cpu", 9999), r"it needs cpu:9999, and \S+ has cpu:[1-9]\d* \(found\)"),
    ],
)
def test_a_job_that_needs_more_than_the_host_has_fails_at_once(queue, supply, needed, reason):
    outcome = queue.far_side.supervise(queue.far_side.submit("true", slots=Slots((needed,), supply)))
    assert (outcome.state, outcome.exit_code, outcome.started) == ("failed", 126, "")
    assert re.fullmatch(reason, outcome.reason)


# with a delay, so that several jobs look at the same time
NVIDIA_SMI = """#!/bin/sh
echo look >>{base}/looks
sleep 0.5
echo 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0a)'
echo '  MIG 1g.5gb     Device  0: (UUID: MIG-0b)'
echo 'GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1a)'
"""


def test_the_gpus_of_a_host_are_found_once(queue):
    base = queue.far_side.base
    program = f"mkdir -p {base}/bin && cat >{base}/bin/nvidia-smi && chmod 755 {base}/bin/nvidia-smi"
    queue.host.run("sh", "-c", program, input=NVIDIA_SMI.format(base=base))
    queue.far_side.argv = ["env", f"PATH={base}/bin:/usr/bin:/bin", *queue.far_side.argv[-2:]]
    queue.start("a", "", (("gpu", 2),))
    queue.start("b", "", (("gpu", 1),))
    queue.await_line("start")
    queue.let_go("a", "b")
    for key in "ab":
        queue.await_state(key, "ended")
    assert {"start a 0,1/0,1", "start b 0/0"} < set(queue.lines())
    assert queue.host.run("cat", f"{base}/looks") == "look\n"
    outcome = queue.far_side.supervise(queue.far_side.submit("true", slots=Slots((("gpu", 3),))))
    assert re.fullmatch(r"it needs gpu:3, and \S+ has gpu:2 \(found\)", outcome.reason)


def test_files_that_a_restart_has_left_mean_nothing_and_are_removed(queue):
    queue.start("a")
    queue.await_line("start a")
    queue.start("b")
    queue.await_tickets(1)
    # as a restart of the machine ends them, all at once
    queue.kill(*queue.far_side.running("supervise.sh"), *queue.far_side.running("/command"))
    processes.wait_until(lambda: not queue.far_side.running("flock"), "the end of what has waited")
    assert (queue.files("grant"), queue.files("ticket")) == (["1000000001.grant"], ["1000000002.ticket"])
    queue.start("c")
    queue.await_line("start c")
    queue.let_go("c")
    queue.await_state("c", "ended")
    assert queue.files("1") == []


def test_a_slot_is_not_given_twice_if_a_ticket_is_deleted(queue):
    """The next job gets its number."""
    queue.start("a", "gpu:2", (("gpu", 2),))
    queue.await_line("start a")
    queue.start("b", "gpu:2")
    queue.await_tickets(1)
    queue.host.run("sh", "-c", f"rm {queue.far_side.base}/slots/*/*.ticket")
    queue.start("c", "gpu:2")
    queue.await_tickets(1)
    queue.let_go("a")
    for key in "bc":
        queue.await_line(f"start {key}")
    queue.start("d", "gpu:2")
    queue.await_tickets(1)
    queue.let_go("b")
    queue.await_line("start d")
    lines = queue.lines()
    assert lines.index("end b") < next(number for number, line in enumerate(lines) if line.startswith("start d"))
    queue.let_go("c", "d")
    for key in "abcd":
        queue.await_state(key, "ended")


def test_the_first_of_the_queue_goes_on_if_a_signal_to_its_helper_is_lost(queue):
    """Before the helper has a trap; here it is ignored until then."""
    for key, count in {"a": 2, "b": 1, "c": 1}.items():
        queue.start(key, "gpu:4", (("gpu", count),))
        queue.await_line(f"start {key}")
    queue.directories["d"] = queue.far_side.submit("true", key="d", slots=Slots((("gpu", 2),), "gpu:4"))
    script = f"{queue.far_side.library}/supervise.sh"
    queue.host.run("sed", "-i", "s/^wake_after() {/&\\ntrap '' TERM\\nsleep 1/", script)
    assert "trap '' TERM\nsleep 1\n" in queue.host.run("cat", script)
    queue.far_side.start(queue.directories["d"])
    queue.await_tickets(1)
    queue.let_go("a")
    queue.await_state("d", "ended")
    queue.let_go("b", "c")
    for key in "abc":
        queue.await_state(key, "ended")


def test_a_file_of_a_person_with_a_number_as_its_name_is_kept(queue):
    for key in "ab":
        queue.start(key)
        queue.let_go(key)
        queue.await_state(key, "ended")
        queue.host.run("sh", "-c", f"cd {queue.far_side.base}/slots/*/ && echo mine >1712345678.csv")
    assert queue.files("csv") == ["1712345678.csv"]


def test_a_look_whether_a_directory_is_writable_follows_no_link(queue):
    base = queue.far_side.base
    call = f'echo mine >{base}/precious; ln -s precious {base}/.probe.$$; unwritable {base}; emit "why=$why"'
    assert "why=" in queue.far_side.call((quoting.Word("eval"), call))
    assert queue.host.run("cat", f"{base}/precious") == "mine\n"


def test_files_of_others_are_never_evaluated(queue):
    """Names and content that a shell would expand; and a FIFO, at which a reader would wait."""
    queue.start("a", "gpu:2")
    queue.await_line("start a")
    hostile = (
        f"cd {queue.far_side.base}/slots/*/ && mkfifo 1000000009.grant 1000000000.ticket && mkdir 1000000008.ticket"
    )
    hostile += " && echo 'gpu:1 $(touch owned)' >'1000000007.grant' && touch '1$(touch own).ticket' '1000000a0;.grant'"
    queue.host.run("sh", "-c", hostile)
    queue.start("b", "gpu:2")
    queue.await_line("start b 1/1")
    queue.let_go("a", "b")
    for key in "ab":
        queue.await_state(key, "ended")
    assert queue.files("own") == ["1$(touch", "own).ticket"]
    # one that is held has to have a meaning
    held = (
        f"cd {queue.far_side.base}/slots/*/ && echo 'gpu:1 $(touch owned)' >1000000007.grant && exec 9<1000000007.grant"
    )
    queue.host.run("sh", "-c", f"{held}; flock 9; sleep 20 </dev/null >/dev/null 2>&1 &")
    outcome = queue.far_side.supervise(queue.far_side.submit("true", slots=Slots((("gpu", 1),), "gpu:2")))
    queue.kill(*queue.far_side.running("sleep 20"))
    assert "1000000007.grant on" in outcome.reason
    assert outcome.reason.endswith("is in use, and cannot be read as a list of slots")


def test_a_directory_of_slots_that_cannot_be_used_is_named(queue):
    if queue.host.run("id", "-u").strip() == "0":
        pytest.skip("root may use any directory")
    place = f"{queue.far_side.base}/closed"
    queue.host.run("sh", "-c", f"mkdir {place} && chmod 0 {place}")
    for path, reason in {
        place: "cannot open the file .*/closed/mutex on ",
        f"{place}/x": "the directory of slots .*/closed/x does not exist on .*, or cannot be reached",
    }.items():
        slots = Slots((("gpu", 1),), "gpu:1", path)
        outcome = queue.far_side.supervise(queue.far_side.submit("true", key=path[-1], slots=slots))
        assert re.match(reason, outcome.reason), outcome.reason
