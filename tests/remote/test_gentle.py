"""Priorities and limits of jobs on a host without control groups, under each common /bin/sh."""

from __future__ import annotations

import pytest

from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.launchers.nohup import NOHUP
from luigi_sshjob.jobs.spec import JobSpec

LIMIT = 100 << 20
# dd has a buffer of that size
GREEDY = "dd if=/dev/zero of=/dev/null bs=300M count=1"


def as_on_a_host_where(far_side, before: str, after: str) -> None:
    """Change the installed supervisor."""
    script = f"{far_side.library}/supervise.sh"
    far_side.host.run("sed", "-i", f"s|{before}|{after}|", script)
    assert far_side.host.run("grep", "-c", after.replace("\\", ""), script) != "0\n"


def test_a_process_gets_no_more_memory_than_the_limit(far_side):
    limited = far_side.supervise(far_side.submit(GREEDY, gentle=Gentle(memory_limit=LIMIT)))
    assert not limited.succeeded
    if far_side.host.kind == "docker":
        # its account has no control group
        assert (limited.limited_by, limited.out_of_memory) == ("ulimit -v", "")
    far_side.host.run("rm", "-r", f"{far_side.base}/jobs")
    unlimited = far_side.supervise(far_side.submit(GREEDY))
    assert (unlimited.succeeded, unlimited.limited_by, unlimited.not_applied) == (True, "", ())


def test_a_job_has_the_priorities_that_it_asks_for(far_side):
    ionice = far_side.host.run("sh", "-c", "ls /usr/bin/ionice /bin/ionice 2>/dev/null || true").split()
    if not ionice or not far_side.host.run("sh", "-c", "command -v nice || true"):
        pytest.skip("the host has no nice or no ionice")
    niceness = 'read -r line </proc/self/stat; set -- ${line##*) }; echo "${17}"'
    own = int(far_side.host.run("sh", "-c", niceness))
    session = "cat /proc/self/autogroup 2>/dev/null"
    directory = far_side.submit(
        f"{niceness}; {ionice[0]}; {session} || true", gentle=Gentle(nice=7, ionice="best-effort:6")
    )
    assert far_side.supervise(directory).not_applied == ()
    log = far_side.host.run("cat", f"{directory}/log").splitlines()
    assert log[:2] == [f"{own + 7}", "best-effort: prio 6"]
    if far_side.host.run("sh", "-c", "cat /proc/sys/kernel/sched_autogroup_enabled 2>/dev/null || true") == "1\n":
        # its session counts less than others
        assert log[2].endswith(" nice 7")


def test_what_the_host_cannot_apply_is_in_the_record(far_side):
    directory = far_side.submit("echo ran", gentle=Gentle(nice=7, ionice="idle"))
    as_on_a_host_where(far_side, "/usr/bin/$1", "/nonexistent/$1")
    as_on_a_host_where(far_side, "/bin/$1", "/nonexistent/$1")
    outcome = far_side.supervise(directory)
    assert (outcome.succeeded, outcome.not_applied, outcome.log_bytes) == (True, ("nice", "ionice"), 4)


def test_a_job_whose_memory_cannot_be_limited_is_not_started(far_side):
    directory = far_side.submit("echo ran", gentle=Gentle(memory_limit=LIMIT))
    as_on_a_host_where(far_side, "find_limiter() {", "find_limiter() { own_cgroup= limiter=; return")
    as_on_a_host_where(far_side, "limits_address_space() {", "limits_address_space() { return 1")
    outcome = far_side.supervise(directory)
    assert (outcome.state, outcome.exit_code, outcome.limited_by) == ("failed", 126, "")
    assert outcome.reason.startswith("the job was not started: this host cannot keep its memory_limit")
    assert "ran\n" not in far_side.host.run("cat", f"{directory}/log")


def test_secrets_of_a_job_that_is_killed_at_its_start_are_not_kept(far_side):
    gentle = Gentle(memory_limit=LIMIT)
    directory = far_side.submit("echo ran", environment={"PASSWORD": "hereabouts"}, gentle=gentle)
    as_on_a_host_where(far_side, "enter_limits() {", "enter_limits() { exit 126")
    assert far_side.supervise(directory).exit_code == 126
    assert far_side.host.run("cat", f"{directory}/environment") == ""


@pytest.mark.parametrize("kind", ["", "-S"], ids=["limit", "soft limit"])
def test_an_account_with_a_lower_limit_keeps_it(far_side, kind):
    directory = far_side.submit("ulimit -v", gentle=Gentle(memory_limit=1 << 40))
    as_on_a_host_where(far_side, "find_limiter() {", "find_limiter() { own_cgroup= limiter=; return")
    supervise = (*far_side.argv, f"{far_side.library}/supervise.sh", directory, "0022")
    far_side.host.run("sh", "-c", f'ulimit {kind} -v 500000 && exec "$@"', "sh", *supervise)
    assert far_side.outcome(directory).succeeded
    assert far_side.host.run("cat", f"{directory}/log") == "500000\n"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((None, None, None, None), Gentle()),
        ((0, "", "", 0.0), Gentle()),
        ((19, "idle", "8G", 0.5), Gentle(19, "idle", 8 << 30, 0.5)),
        ((7.0, "best-effort:7", "1.5 GiB", 2), Gentle(7, "best-effort:7", 3 << 29, 2)),
        (("7", None, 1 << 20, "2"), Gentle(7, "", 1 << 20, 2)),
        ((None, None, "512mb", 0.01), Gentle(0, "", 512 << 20, 0.01)),
    ],
)
def test_values_are_those_of_attributes_parameters_and_settings(given, found):
    assert Gentle.checked(*given, NOHUP) == found
    lines = dict(line.replace("'", "").split("=") for line in found.spec_lines())
    assert Gentle.parse(lines) == found


def test_a_job_without_limits_has_the_spec_and_the_digests_of_earlier_versions():
    plain, limited = (
        JobSpec(key="a", command="true", token="t", gentle=gentle) for gentle in (Gentle(), Gentle(nice=1))
    )
    assert limited.spec_text() == f"{plain.spec_text()}\nnice='1'"
    assert limited.digests == plain.digests
