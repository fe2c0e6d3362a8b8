"""Limits that the kernel keeps for a job as a whole, on a host with systemd and control groups of version 2."""

from __future__ import annotations

import re
import time
from pathlib import Path

import luigi
import pytest

from luigi_sshjob import RemoteJobTask
from luigi_sshjob.cli.main import main
from luigi_sshjob.jobs.gentle import Gentle
from luigi_sshjob.jobs.model import State
from luigi_sshjob.remote import quoting
from luigi_sshjob.ssh.connection import close_shells

from support import processes
from support.control_master import end_masters
from support.far_side import SHELLS, FarSide
from support.jobs import Bench, cancel_running
from support.session import SESSION
from support.settings import configure
from support.systemd_host import TUN, SystemdHost

pytestmark = [
    pytest.mark.needs_docker,
    pytest.mark.xdist_group("systemd"),
    # the first test also builds the image
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path(TUN).exists(), reason=f"this machine has no {TUN}"),
]

LIMIT = 24 << 20
# twice the limit, in a child of the command
GREEDY = "python3 -c 'x = b\"x\" * (64 << 20)'; echo not ended"


@pytest.fixture(scope="module")
def machine(pytestconfig):
    session = pytestconfig.stash[SESSION]
    made = SystemdHost(session.root / "systemd", session.docker)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def on_systemd(machine, luigi_cfg):
    """Jobs of an account that may linger. No control group of a job is left afterwards."""
    configure(ssh_config=machine.ssh_config)
    machine.run("loginctl", "enable-linger", "job", user="root")
    processes.wait_until(lambda: machine.run("find", "/run/user/1000/bus", check=False), "the account's systemd")
    bench = Bench(machine, "special")
    yield bench
    cancel_running(bench.listing, bench.monitor)
    machine.run("rm", "-rf", bench.folder, bench.go)
    close_shells()
    end_masters(luigi_cfg.runtime_dir, machine)
    processes.wait_until(lambda: not machine.cgroups(), "the end of the control groups")
    assert machine.processes() == []


def test_a_job_that_exceeds_its_memory_limit_is_killed_and_its_neighbour_lives(on_systemd):
    bench = on_systemd
    bench.key = "Neighbour"
    neighbour = bench.submit(bench.until_released("exit 3"), gentle=Gentle(memory_limit=LIMIT)).job
    bench.key = "Greedy"
    outcome, log = bench.run(GREEDY, gentle=Gentle(memory_limit=LIMIT))
    assert (outcome.state, outcome.signal, log) == ("killed", "KILL", b"")
    reason = "it used more than its memory limit of 24.0 MiB, and the kernel killed a process of it"
    assert (outcome.reason, outcome.out_of_memory, outcome.limited_by) == (reason, "job", "systemd scope")
    # time(1) was killed, too
    assert LIMIT * 0.9 < outcome.peak_memory <= LIMIT
    assert bench.client.status(neighbour).state is State.RUNNING
    bench.release()
    outcome = bench.monitor.wait(neighbour, lambda _: None)
    # the kernel killed nothing of it
    assert (outcome.exit_code, outcome.reason, outcome.out_of_memory) == (3, "", "")
    # that of the largest process, as time(1) has seen the end
    assert outcome.peak_memory < 10 << 20


class Growing(RemoteJobTask):
    """Each attempt may use four times the memory of the one before."""

    host = luigi.Parameter()
    base_dir = luigi.Parameter()
    retries = {"memory": 1}

    @property
    def memory_limit(self):
        return LIMIT * 4 ** (self.previous.attempt if self.previous else 0)

    def command(self):
        return GREEDY


@pytest.mark.parametrize("remote_jobs", ["no process"], indirect=True)
def test_a_retry_may_use_more_memory_than_the_attempt_that_exceeded_its_limit(on_systemd, build, short_pauses):
    task = Growing(on_systemd.host.alias, on_systemd.base)
    assert build(task)
    assert (task.previous.label, task.previous.outcome.out_of_memory) == ("memory 1/1", "job")


def test_a_job_uses_no_more_than_its_cpu_limit(on_systemd):
    command = "nice; timeout 4 sh -c 'while :; do :; done'"
    for _ in range(3):
        outcome, log = on_systemd.run(command, gentle=Gentle(cpu_limit=0.5, nice=7), success_exit_codes=(0, 124))
        assert (outcome.limited_by, outcome.not_applied, log) == ("systemd scope", (), b"7\n")
        # of 4; the kernel of this host counts in ticks
        if 1 < outcome.cpu_seconds < 3:
            break
    else:
        pytest.fail(f"the job used {outcome.cpu_seconds} seconds in 4")


def test_a_job_in_a_scope_outlives_the_last_login(on_systemd, luigi_cfg):
    """Only with lingering: otherwise systemd would end it with the scope, so its limit is kept in another way."""
    bench, machine = on_systemd, on_systemd.host
    bench.key = "Lingering"
    lingering = bench.submit(bench.until_released(), gentle=Gentle(memory_limit=LIMIT)).job
    bench.wait_until_running(f"{bench.key}/1/command")
    (group,) = [group for group in machine.cgroups() if group.endswith(".scope")]
    assert machine.run("cat", f"{group}/pids.max") == "max\n"
    _log_out(machine, luigi_cfg)
    bench.release()
    outcome = bench.monitor.wait(lingering, lambda _: None)
    assert (outcome.succeeded, outcome.limited_by) == (True, "systemd scope")
    machine.run("rm", bench.go)
    machine.run("loginctl", "disable-linger", "job", user="root")
    bench.key = "Short"
    short = bench.submit(bench.until_released(), gentle=Gentle(memory_limit=LIMIT, cpu_limit=1)).job
    bench.wait_until_running(f"{bench.key}/1/command")
    _log_out(machine, luigi_cfg)
    bench.release()
    outcome = bench.monitor.wait(short, lambda _: None)
    assert (outcome.succeeded, outcome.limited_by, outcome.not_applied) == (True, "ulimit -v", ("cpu_limit",))


def _log_out(machine, luigi_cfg):
    close_shells()
    end_masters(luigi_cfg.runtime_dir, machine)
    server = ("pgrep", "-f", "^sshd: job")
    processes.wait_until(lambda: not machine.run(*server, user="root", check=False), "the end of the login")


def test_a_job_that_is_cancelled_while_systemd_does_not_respond_is_not_started(on_systemd):
    bench, machine = on_systemd, on_systemd.host
    bus = "/run/user/1000/bus"
    listen = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('{bus}'); s.listen(); time.sleep(600)"
    machine.run("mv", bus, f"{bus}.kept")
    machine.run("sh", "-c", f'setsid python3 -c "{listen}" </dev/null >/dev/null 2>&1 &')
    try:
        processes.wait_until(lambda: machine.run("ls", bus, check=False), "a bus that does not respond")
        job = bench.submit("echo ran", gentle=Gentle(memory_limit=LIMIT)).job
        bench.wait_until_running("busctl --user")
        assert bench.monitor.cancel(job, 1).state == "cancelled"
        assert bench.host.run("cat", f"{job.directory}/log") == "luigi_sshjob: it was not started\n"
    finally:
        (listener,) = [pid for pid, args in machine.processes() if "s.listen()" in args]
        machine.run("kill", str(listener))
        machine.run("mv", f"{bus}.kept", bus)


def test_a_limited_job_that_ends_with_the_systemd_of_its_account_says_so(on_systemd):
    bench, machine = on_systemd, on_systemd.host
    job = bench.submit(bench.until_released(), gentle=Gentle(memory_limit=LIMIT)).job
    bench.wait_until_running(f"{bench.key}/1/command")
    machine.run("systemctl", "stop", "user@1000.service", user="root")
    machine.run("systemctl", "start", "user@1000.service", user="root")
    outcome = bench.monitor.wait(job, lambda _: None)
    assert (outcome.state, outcome.signal) == ("killed", "TERM")
    assert outcome.reason.startswith("the supervisor received SIGTERM")


def test_a_killed_supervisor_leaves_no_scope(on_systemd):
    bench = on_systemd
    job = bench.submit(bench.until_released(), gentle=Gentle(memory_limit=LIMIT)).job
    bench.wait_until_running("/command")
    bench.host.run("kill", "-9", str(bench.supervisor()))
    processes.wait_until(lambda: bench.client.status(job).state is State.UNSUPERVISED, "the supervisor's end")
    bench.release()
    assert bench.monitor.wait(job, lambda _: None).state == "lost"


class Container:
    """The view of root in a container with control groups of its own, and without systemd."""

    username = "root"

    def __init__(self, host: SystemdHost) -> None:
        self._host = host
        start = (
            "g=/sys/fs/cgroup/container && mkdir $g && echo $$ >$g/cgroup.procs && exec unshare -C -m sh -c '"
            "umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run/systemd &&"
            " mkdir /sys/fs/cgroup/init && echo $$ >/sys/fs/cgroup/init/cgroup.procs && echo $$ >/root/container &&"
            " exec sleep 1000 </dev/null >/dev/null 2>&1'"
        )
        host.run("setsid", "-f", "sh", "-c", start, user="root")
        processes.wait_until(lambda: host.run("cat", "/root/container", user="root", check=False), "the container")
        self.init = host.run("cat", "/root/container", user="root").strip()
        join = 'echo $$ >/sys/fs/cgroup/container/init/cgroup.procs && exec nsenter -C -m -t "$0" "$@"'
        self._inside = ("sh", "-c", join, self.init)

    def run(self, *argv: str, **options: object) -> str:
        return self._host.run(*self._inside, *argv, user="root", **options)

    def processes(self) -> list[tuple[int, str]]:
        listed = [line.partition(" ") for line in self.run("pgrep", "-u", "root", "-a").splitlines()]
        return [(int(pid), args) for pid, _, args in listed]

    def groups(self) -> list[str]:
        return self.run("find", "/sys/fs/cgroup", "-name", "sshjob-*").split()

    def stop(self) -> None:
        self._host.run("kill", self.init, user="root")
        remove = "rm /root/container; cd /sys/fs/cgroup && rmdir container/init container"
        processes.wait_until(
            lambda: not self._host.run("sh", "-c", f"{remove} && exit; echo no", user="root"), "its end"
        )


@pytest.fixture(scope="module")
def container(machine):
    made = Container(machine)
    yield made
    made.stop()


@pytest.fixture
def in_container(container):
    folder = container.run("mktemp", "-d").strip()
    # on this kernel the others are slow when they read the server byte by byte
    yield FarSide(container, SHELLS["dash"], folder)
    container.run("rm", "-rf", folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_root_of_a_container_limits_jobs_with_its_control_groups(in_container, shell):
    far_side, container = in_container, in_container.host
    # its directory may be changed
    directory = far_side.submit(f"rm $SSHJOB_DIR/cgroup; {GREEDY}", gentle=Gentle(memory_limit=LIMIT, cpu_limit=0.9))
    # without time(1) the kernel's count is the only one
    far_side.lose_timer()
    container.run(*SHELLS[shell], f"{far_side.library}/supervise.sh", directory, "0022")
    outcome = far_side.outcome(directory)
    assert (outcome.state, outcome.out_of_memory, outcome.limited_by) == ("killed", "job", "cgroup")
    assert LIMIT * 0.9 < outcome.peak_memory <= LIMIT
    assert container.groups() == []


def test_the_doctor_says_what_limits_the_jobs_of_a_host(on_systemd, in_container, capsys):
    main(["doctor", on_systemd.host.alias, "--base-dir", on_systemd.base])
    assert "memory_limit and cpu_limit of jobs are kept by a systemd scope" in " ".join(capsys.readouterr().out.split())
    found = 'find_limiter; part found 0 "$limiter: $cgroup_controllers"'
    assert re.search(r"cgroup: .*\bcpu\b.*\bmemory\b", in_container.call((quoting.Word("eval"), found)))


def test_the_group_of_a_killed_supervisor_is_removed_with_the_job(in_container):
    far_side, container = in_container, in_container.host
    command = "mkdir $(cat $SSHJOB_DIR/cgroup)/own; dd if=/dev/zero bs=1M count=20 >>$SSHJOB_DIR/cgroup; sleep 471"
    directory = far_side.submit(command, gentle=Gentle(memory_limit=LIMIT))
    far_side.start(directory)
    processes.wait_until(lambda: far_side.running("sleep 471"), "the command")
    (group,) = container.groups()
    container.run("kill", "-9", *map(str, far_side.running("supervise.sh")))
    container.run("kill", *map(str, far_side.running("sleep 471")))
    status = (quoting.Word("job_status"), directory, "0")
    processes.wait_until(lambda: "state 0 lost" in far_side.call(status), "the end of the job")
    assert container.groups() == [group]
    since = time.monotonic()
    far_side.call((quoting.Word("job_collect"), directory, "a test"))
    # a file without a line break is read up to a bound
    assert time.monotonic() - since < 15
    assert container.groups() == []
